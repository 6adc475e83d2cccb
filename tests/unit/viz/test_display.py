"""Output that is redrawn below a cell, with a fake kernel that records what it shows."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import Any

import pytest
from reactivex.subject import Subject

import rxws
from rxws.viz import notebook, stop_all, views, watch
from rxws.viz.display import Display

RATE = 200.0  # redraws per second, so that the tests are fast


class Kernel:
    """A kernel that records what it is asked to show."""

    def __init__(self) -> None:
        self.cell: str | None = "cell"
        self.run: str | None = "run 1"
        self.shown: list[tuple[str, str, bool]] = []
        self.contexts: list[int] = []

    def show(self, bundle: dict[str, str], display_id: str, update: bool = False) -> None:
        self.shown.append((bundle["text/plain"], display_id, update))

    @property
    def texts(self) -> list[str]:
        return [text for text, _, _ in self.shown]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel()
    monkeypatch.setattr(notebook, "in_kernel", lambda: True)
    monkeypatch.setattr(notebook, "current_cell", lambda: made.cell)
    monkeypatch.setattr(notebook, "current_run", lambda: made.run)
    monkeypatch.setattr(notebook, "show", made.show)
    return made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 # there is no event to wait for
            await asyncio.sleep(0)


def timers() -> int:
    loop: Any = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)


class Counter:
    """Output that counts how often it is checked and drawn."""

    def __init__(self) -> None:
        self.count = self.drawn = self.checked = 0
        self.display = Display(self.draw, state=self.check, rate=RATE)

    def draw(self) -> dict[str, str]:
        self.drawn += 1
        return {"text/plain": str(self.count)}

    def check(self) -> int:
        self.checked += 1
        return self.count


async def test_changes_are_drawn_together(kernel: Kernel) -> None:
    """A thousand changes between two checks cause one update of the same output."""
    counter = Counter()
    counter.display.show()
    for _ in range(1000):
        counter.count += 1
    await until(lambda: counter.drawn == 2)
    assert kernel.shown == [
        ("0", counter.display.id, False),
        ("1000", counter.display.id, True),
    ]
    counter.display.stop()


async def test_unchanged_output_is_not_redrawn(kernel: Kernel) -> None:
    """Output is checked for changes, and not redrawn without one."""
    counter = Counter()
    counter.display.show()
    await until(lambda: counter.checked > 5)
    assert kernel.texts == ["0"]
    counter.display.stop()


async def test_stop_redraws_at_once(kernel: Kernel) -> None:
    """`stop` redraws the output and cancels the timer; calling it again has no effect."""
    before = timers()
    counter = Counter()
    counter.display.show()
    assert counter.display.live
    counter.count = 7
    counter.display.stop()
    counter.display.stop()
    assert kernel.texts == ["0", "7"]
    assert not counter.display.live
    assert timers() == before


async def test_output_may_be_stopped_from_another_thread(kernel: Kernel) -> None:
    """Stopped from another thread, the event loop redraws the output."""
    counter = Counter()
    counter.display.show()
    counter.count = 7
    thread = threading.Thread(target=counter.display.stop)
    thread.start()
    await until(lambda: not counter.display.live and len(kernel.shown) == 2)
    thread.join()
    assert kernel.texts == ["0", "7"]


def test_output_outlives_its_loop(kernel: Kernel) -> None:
    """Output whose loop is closed is redrawn when another thread stops it."""

    async def show() -> None:
        counter.display.show()

    counter = Counter()
    asyncio.run(show())
    counter.count = 7
    thread = threading.Thread(target=counter.display.stop)
    thread.start()
    thread.join()
    assert kernel.texts == ["0", "7"]


def test_without_a_loop_output_is_redrawn_at_the_end(kernel: Kernel) -> None:
    """Without an event loop, output is redrawn only by `stop`."""
    counter = Counter()
    counter.display.show()
    assert not counter.display.live
    counter.count = 7
    counter.display.stop()
    assert kernel.texts == ["0", "7"]


async def test_outside_a_kernel_nothing_is_drawn() -> None:
    """Outside a kernel nothing is drawn, and no timer is started."""
    before = timers()
    counter = Counter()
    counter.display.show()
    counter.display.stop()
    assert counter.drawn == 0
    assert timers() == before


async def test_updates_run_in_an_empty_context(kernel: Kernel) -> None:
    """Updates do not run in the context of the cell, where they could be dropped."""
    variable = contextvars.ContextVar[str]("variable", default="none")
    variable.set("of the cell")
    seen: list[str] = []
    shown = Display(
        lambda: {"text/plain": ""}, state=lambda: seen.append(variable.get()), rate=RATE
    )
    shown.show()
    await until(lambda: len(seen) > 1)
    shown.stop()
    assert seen[:2] == ["of the cell", "none"]


async def test_an_error_while_drawing_is_logged(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception while drawing is logged, and does not reach the caller."""

    def draw() -> dict[str, str]:
        raise LookupError("no picture")

    Display(draw, state=int).show()
    [record] = caplog.records
    assert record.name == "rxws"
    assert "could not draw" in record.getMessage()


# --- views --------------------------------------------------------------------------------------


async def test_the_end_of_a_flow_is_drawn_at_once(kernel: Kernel) -> None:
    """The end of a flow is drawn at once, and the timer is cancelled."""
    before = timers()
    source = Subject[int]()
    view = watch(source, rate=RATE)
    source.on_next(1)
    source.on_completed()
    assert kernel.texts[-1] == view.text()
    assert "1 ev" in view.text()
    assert timers() == before
    shown = len(kernel.shown)
    await view
    assert len(kernel.shown) == shown + 1  # awaiting redraws in any case


async def test_the_view_of_an_ended_recording_stops(kernel: Kernel) -> None:
    """The check that finds all lanes ended draws the recording and is the last."""
    before = timers()
    recording, source = rxws.Recording(), Subject[int]()
    view = watch(recording, rate=RATE)
    source.pipe(recording.tap("a")).subscribe()
    source.on_completed()
    await until(lambda: view.state == "ended")
    assert kernel.texts[-1] == view.text()
    assert timers() == before
    assert views() == []


@pytest.mark.promise("cell")
async def test_a_cell_that_runs_again_stops_its_views(kernel: Kernel) -> None:
    """Running a cell again stops the views of its earlier runs, and no others."""
    source = Subject[int]()
    first, second = watch(source, rate=RATE), watch(source, rate=RATE)
    kernel.cell, kernel.run = "other", "run 2"
    other = watch(source, rate=RATE)
    assert views() == [first, second, other]
    kernel.cell, kernel.run = "cell", "run 3"
    third, fourth = watch(source, rate=RATE), watch(source, rate=RATE)
    assert first.state == second.state == "stopped"
    assert views() == [other, third, fourth]
    assert len(source.observers) == 3
    stop_all()
    assert source.observers == []


async def test_a_view_is_shown_once_in_a_cell(kernel: Kernel) -> None:
    """A view is shown once in each cell: not again as the last expression of its own."""
    view = watch(Subject[int](), rate=RATE)
    view._ipython_display_()
    assert [update for _, _, update in kernel.shown] == [False]
    kernel.cell, kernel.run = "other", "run 2"
    view._ipython_display_()
    view._ipython_display_()
    assert [update for _, _, update in kernel.shown] == [False, False]
    view.stop()
    kernel.run = "run 3"
    view._ipython_display_()
    ids = {display_id for _, display_id, _ in kernel.shown}
    assert len(ids) == 1


def test_outside_a_kernel_ipython_shows_the_repr() -> None:
    """Outside a kernel IPython falls back to the repr of a view."""
    view = watch(Subject[int]())
    with pytest.raises(NotImplementedError):
        view._ipython_display_()
    view.stop()


async def test_the_hint_disappears_with_a_subscriber(kernel: Kernel) -> None:
    """The hint disappears when somebody subscribes, even before the first event."""
    from support.virtual.session import VirtualSession

    virtual = VirtualSession()
    view = watch(virtual.conn, rate=RATE)
    assert "Nobody" in kernel.texts[-1]
    virtual.watch(virtual.conn.incoming)
    await until(lambda: "Nobody" not in kernel.texts[-1])
    view.stop()
