"""Live output, with what a kernel is asked to show written down: how often, and when no more."""

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

RATE = 200.0  # pictures a second: what is waited for here comes soon


class Kernel:
    """A kernel that writes down what it is to show."""

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
    monkeypatch.setattr(notebook, "cell_of_now", lambda: made.cell)
    monkeypatch.setattr(notebook, "run_of_now", lambda: made.run)
    monkeypatch.setattr(notebook, "show", made.show)
    return made


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 # what is waited for tells nobody
            await asyncio.sleep(0)


def timers() -> int:
    loop: Any = asyncio.get_running_loop()
    return sum(not handle.cancelled() for handle in loop._scheduled)


class Counter:
    """Something to be drawn."""

    def __init__(self) -> None:
        self.count = self.drawn = self.looked = 0
        self.display = Display(self.draw, state=self.look, rate=RATE)

    def draw(self) -> dict[str, str]:
        self.drawn += 1
        return {"text/plain": str(self.count)}

    def look(self) -> int:
        self.looked += 1
        return self.count


async def test_changes_are_drawn_together(kernel: Kernel) -> None:
    """A thousand of them between two looks are one picture, at the place of the first."""
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


async def test_what_has_not_changed_is_not_drawn(kernel: Kernel) -> None:
    """It is only looked at."""
    counter = Counter()
    counter.display.show()
    await until(lambda: counter.looked > 5)
    assert kernel.texts == ["0"]
    counter.display.stop()


async def test_stop_draws_the_last_picture_at_once(kernel: Kernel) -> None:
    """And leaves no timer; stopping again does nothing."""
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


async def test_a_picture_may_be_stopped_from_another_thread(kernel: Kernel) -> None:
    """The event loop draws it and takes its timer back."""
    counter = Counter()
    counter.display.show()
    counter.count = 7
    thread = threading.Thread(target=counter.display.stop)
    thread.start()
    await until(lambda: not counter.display.live and len(kernel.shown) == 2)
    thread.join()
    assert kernel.texts == ["0", "7"]


def test_a_picture_outlives_its_loop(kernel: Kernel) -> None:
    """Stopped from another thread when the loop is closed it is drawn all the same."""

    async def show() -> None:
        counter.display.show()

    counter = Counter()
    asyncio.run(show())
    counter.count = 7
    thread = threading.Thread(target=counter.display.stop)
    thread.start()
    thread.join()
    assert kernel.texts == ["0", "7"]


def test_without_a_loop_it_is_drawn_at_the_end(kernel: Kernel) -> None:
    """Nothing draws it in between."""
    counter = Counter()
    counter.display.show()
    assert not counter.display.live
    counter.count = 7
    counter.display.stop()
    assert kernel.texts == ["0", "7"]


async def test_outside_a_kernel_nothing_is_drawn() -> None:
    """Nor is anything looked at."""
    before = timers()
    counter = Counter()
    counter.display.show()
    counter.display.stop()
    assert counter.drawn == 0
    assert timers() == before


async def test_looking_runs_in_an_empty_context(kernel: Kernel) -> None:
    """What is drawn in that of a cell which is over would be dropped."""
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


async def test_what_cannot_be_drawn_is_logged(
    kernel: Kernel, caplog: pytest.LogCaptureFixture
) -> None:
    """Who feeds the picture does not see it."""

    def draw() -> dict[str, str]:
        raise LookupError("no picture")

    Display(draw, state=int).show()
    [record] = caplog.records
    assert record.name == "rxws"
    assert "could not draw" in record.getMessage()


# --- views --------------------------------------------------------------------------------------


async def test_the_end_is_drawn_at_once(kernel: Kernel) -> None:
    """With the ends of all lanes, and no timer is left."""
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
    assert len(kernel.shown) == shown + 1  # the awaiting cell has it in any case


async def test_a_recording_that_is_over_is_looked_at_no_more(kernel: Kernel) -> None:
    """The look that finds it over draws it, and is the last."""
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
    """Those of its earlier run, not those of this one, nor those of other cells."""
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
    """As the last expression of its own cell it adds nothing, in another cell it shows itself."""
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


def test_outside_a_kernel_ipython_shows_its_repr() -> None:
    """IPython takes the next of its ways where this one is not implemented."""
    view = watch(Subject[int]())
    with pytest.raises(NotImplementedError):
        view._ipython_display_()
    view.stop()


async def test_a_source_that_waits_is_drawn_when_somebody_comes(kernel: Kernel) -> None:
    """The remark goes, though no event has come."""
    from support.virtual.session import VirtualSession

    virtual = VirtualSession()
    view = watch(virtual.conn, rate=RATE)
    assert "Nobody" in kernel.texts[-1]
    virtual.watch(virtual.conn.incoming)
    await until(lambda: "Nobody" not in kernel.texts[-1])
    view.stop()
