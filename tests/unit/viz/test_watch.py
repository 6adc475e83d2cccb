"""`watch` outside a notebook: what it records, that it changes nothing, and how views end."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import reactivex as rx
from IPython.lib import pretty as ipython
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from rxws import Close
from rxws.testing import Clock
from rxws.testing.real_time import refuse_real_time
from rxws.viz import View, stop_all, views, watch
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject, received_by


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Stop all views after each test."""
    yield
    stop_all()
    assert views() == []


def seen(view: View, lane: str) -> list[Any]:
    """Return the values of a lane."""
    return [entry.data for entry in view.recording.lanes[lane].entries if entry.type == "next"]


def kinds(view: View) -> dict[str, str]:
    """Return the type of the last event of each lane."""
    return {name: lane.entries[-1].type for name, lane in view.recording.lanes.items()}


# --- lanes -------------------------------------------------------------------------------


def test_each_step_has_a_lane() -> None:
    """Each step has a lane with its name, its argument, and its output over time."""
    clock, source = Clock(), Subject[int]()
    view = watch(
        source,
        ops.map(lambda n: n * 2),
        ("calm", ops.debounce(0.5)),
        title="Doubles",
        scheduler=clock,
    )
    source.on_next(1)
    clock.run(0.25)
    source.on_next(2)
    clock.run(1.0)
    source.on_completed()

    assert list(view.recording.lanes) == ["source", "map", "calm"]
    assert seen(view, "source") == [1, 2]
    assert seen(view, "map") == [2, 4]
    [entry] = [entry for entry in view.recording.lanes["calm"].entries if entry.type == "next"]
    assert (entry.t, entry.data) == (0.75, 4)
    assert view.recording.lanes["map"].detail == "n * 2"
    assert view.recording.lanes["calm"].detail == "0.5 s"
    assert view.recording.title == "Doubles"
    assert kinds(view) == {"source": "completed", "map": "completed", "calm": "completed"}


def test_steps_with_the_same_name_are_numbered() -> None:
    """Steps with the same name have lanes with different names."""
    view = watch(rx.of(1), ops.map(str), ops.map(int), ("source", ops.map(str)), scheduler=Clock())
    assert list(view.recording.lanes) == ["source", "map", "map #2", "source #2"]


@pytest.mark.promise("watched")
def test_a_chain_is_subscribed_once() -> None:
    """The source is subscribed once, whatever the number of steps."""
    subscribed: list[int] = []

    def make(_: Any) -> rx.Observable[Any]:
        subscribed.append(1)
        return rx.never()

    source = rx.defer(make)
    view = watch(source, ops.map(str), ops.map(str))
    view.svg()
    assert subscribed == [1]


async def test_a_chain_stays_on_the_running_loop() -> None:
    """Timers in a chain run on the running event loop instead of threads."""
    source, threads, came = Subject[int](), list[int](), asyncio.Event()

    def note(_: int) -> None:
        threads.append(threading.get_ident())
        came.set()

    view = watch(source, ops.debounce(0.001), ops.do_action(note))
    source.on_next(1)
    await came.wait()
    source.on_completed()
    await view
    assert threads == [threading.get_ident()]


def test_events_of_other_threads_are_recorded() -> None:
    """All events of another thread are recorded, and so is the end."""
    source = Subject[int]()
    view = watch(source, ops.map(str))

    def emit() -> None:
        for number in range(100):
            source.on_next(number)
        source.on_completed()

    thread = threading.Thread(target=emit)
    thread.start()
    thread.join()
    assert len(seen(view, "map")) == 100
    assert view.state == "ended"


async def test_an_end_on_another_thread_wakes_the_awaiting_task() -> None:
    """An end on another thread wakes the task that awaits the view."""
    source, awaited = Subject[int](), threading.Event()
    view = watch(source)

    def end() -> None:
        awaited.wait()
        source.on_completed()

    thread = threading.Thread(target=end)
    thread.start()
    loop = asyncio.get_running_loop()
    loop.set_debug(True)  # other calls from this thread raise
    loop.call_soon(awaited.set)
    async with asyncio.timeout(20):
        await view
    thread.join()
    assert view.state == "ended"


# --- nothing changes ----------------------------------------------------------------------------


@pytest.mark.promise("watched")
def test_watching_a_stream_is_not_a_subscription() -> None:
    """Messages of a watched stream wait for a subscriber, and a hint says so."""
    virtual = VirtualSession()
    view = watch(virtual.conn.incoming, ops.map(str.upper), scheduler=virtual.clock)
    virtual.peer.message("a")
    virtual.settle()
    assert not virtual.conn.incoming.observed  # type: ignore[attr-defined] # streams of rxws have it
    assert seen(view, "incoming") == []
    assert "Nobody is subscribed to incoming" in view.text()

    told = virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert told.values == ["a"]
    assert seen(view, "map") == ["A"]
    assert "Nobody" not in view.text()


@pytest.mark.promise("watched")
def test_watching_a_connection_is_not_a_subscription() -> None:
    """Messages of a watched connection wait for a subscriber; a view shows its streams and end."""
    virtual = VirtualSession()
    view = watch(virtual.conn)
    virtual.peer.message("a")
    virtual.settle()
    assert "Nobody is subscribed to incoming" in view.text()
    told = virtual.watch(virtual.conn.incoming)
    virtual.conn.outgoing.on_next("b")
    virtual.settle()
    assert told.values == ["a"]
    assert seen(view, "incoming") == ["a"]
    assert seen(view, "outgoing") == ["b"]
    assert view.recording.title == "ws://peer.example/"
    assert repr(view) == "<View 'ws://peer.example/': incoming 1, outgoing 1, running>"
    virtual.peer.close(4001, "enough")
    virtual.settle()
    assert view.state == "ended"
    assert repr(view) == "<View 'ws://peer.example/': incoming 1, outgoing 1, ended 4001>"


@pytest.mark.promise("watched")
def test_watching_a_subject_does_not_connect() -> None:
    """Watching a `WebSocketSubject` or a channel connects only if somebody subscribes."""
    client = VirtualSubject()
    acme = client.feed.channel("sub", "unsub", str.upper, key="ACME")
    view = watch(client.feed, ops.map(len), scheduler=client.clock)
    part = watch(acme, scheduler=client.clock)
    client.run()
    assert client.dials == []
    assert "Nobody is subscribed" in view.text()
    assert "Nobody is subscribed" in part.text()

    everything, some = client.subscribe(), client.subscribe(acme)
    client.run()
    [dial] = client.dials
    dial.peer.message("acme")
    client.run()
    assert received_by(dial) == ["sub"]
    assert (seen(view, "incoming"), seen(view, "map")) == (["acme"], [4])
    assert seen(part, "ACME") == ["acme"]
    assert "Nobody is subscribed" not in view.text() + part.text()

    everything.subscription.dispose()
    some.subscription.dispose()
    client.answer_close(dial)
    client.check_nothing_left(stop_all)


def test_a_chain_of_a_connection_ends_with_its_code() -> None:
    """The close code is shown at the end of `incoming` in a chain, too."""
    virtual = VirtualSession(watch=True)
    view = watch(virtual.conn.incoming, ops.map(str.upper), scheduler=virtual.clock)
    virtual.peer.message("a")
    virtual.peer.close(1000)
    virtual.settle()
    assert repr(view) == "<View incoming 1, map 1, ended 1000>"
    incoming, mapped = view.text().splitlines()[:2]
    assert "1000" in incoming
    assert "1000" not in mapped


@pytest.mark.promise("watched")
def test_an_error_in_a_step_reaches_nobody_else() -> None:
    """An error in a step affects neither the connection nor its subscribers."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    view = watch(virtual.conn.incoming, raising_operator, scheduler=virtual.clock)
    virtual.peer.message("a")
    virtual.peer.message("b")
    virtual.settle()
    assert view.state == "failed"
    assert isinstance(view.error, LookupError)
    assert errors.values == []
    assert virtual.incoming.values == ["a", "b"]


def raising_operator(source: rx.Observable[Any]) -> rx.Observable[Any]:
    """Raise an exception to the source, which operators of RxPY do not."""

    def subscribe(observer: Any, scheduler: Any = None) -> Any:
        def on_next(value: Any) -> None:
            raise LookupError(value)

        return source.subscribe(on_next, observer.on_error, observer.on_completed)

    return rx.Observable(subscribe)


def test_outgoing_may_be_watched() -> None:
    """`outgoing` has a lane with its direction, and no hint about subscribers."""
    virtual = VirtualSession()
    view = watch(virtual.conn.outgoing, scheduler=virtual.clock)
    virtual.conn.outgoing.on_next("a")
    assert seen(view, "outgoing") == ["a"]
    assert view.recording.lanes["outgoing"].dir == "out"
    assert "Nobody" not in view.text()


# --- how it ends --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["stop", "end", "fail"])
@pytest.mark.promise("runs-on")
def test_nothing_stays_subscribed(how: str) -> None:
    """However a view ends, its subscription is disposed and it is no longer listed."""
    source = Subject[int]()
    view = watch(source, ops.map(lambda n: 1 / n), ops.take(1))
    assert views() == [view]
    if how == "stop":
        view.stop()
        view.stop()
    else:
        source.on_next(1 if how == "end" else 0)
    assert source.observers == []
    assert views() == []
    assert view.state == {"stop": "stopped", "end": "ended", "fail": "failed"}[how]


def test_a_stopped_view_stays_stopped() -> None:
    """A stopped view records nothing more, and stays stopped when the flow ends."""
    virtual = VirtualSession(watch=True)
    view = watch(virtual.conn)
    view.stop()
    virtual.peer.message("a")
    virtual.peer.close(1000)
    virtual.settle()
    assert view.state == "stopped"
    types = [entry.type for lane in view.recording.lanes.values() for entry in lane.entries]
    assert types == ["disposed", "disposed"]


def test_an_exception_while_disposing_is_shown() -> None:
    """An exception in `finally_action` is shown, and does not reach the source."""
    source = Subject[int]()

    def fail() -> None:
        raise LookupError("at the end")

    view = watch(source, ops.finally_action(fail))
    view.stop()
    assert isinstance(view.error, LookupError)
    assert "at the end" in view.text()


def test_an_exception_while_subscribing_is_shown() -> None:
    """An exception while subscribing is shown; `watch` does not raise it."""

    def subscribe(observer: Any, scheduler: Any = None) -> Any:
        raise LookupError("no such source")

    view = watch(rx.Observable(subscribe))
    assert view.state == "failed"
    assert "LookupError: no such source" in view.text()


async def test_awaiting_a_view_returns_none() -> None:
    """Awaiting a view returns None, even if the flow failed or has ended before."""
    source = Subject[int]()
    view = watch(source, ops.map(lambda n: 1 / n))
    waiting = asyncio.ensure_future(view._wait())
    await asyncio.sleep(0)
    source.on_next(0)
    await waiting
    await view
    assert isinstance(view.error, ZeroDivisionError)


async def test_cancelling_the_awaiting_task_stops_the_view() -> None:
    """Cancelling the task that awaits a view stops the view."""
    source = Subject[int]()
    view = watch(source)
    waiting = asyncio.ensure_future(view._wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert view.state == "stopped"
    assert source.observers == []


@pytest.mark.promise("runs-on")
def test_stop_all_stops_all() -> None:
    """`stop_all` stops all views; `views` lists them, oldest first."""
    one, two = watch(rx.never()), watch(rx.never())
    assert views() == [one, two]
    stop_all()
    assert one.state == two.state == "stopped"


@pytest.mark.promise("runs-on")
def test_an_ended_view_does_not_keep_the_connection() -> None:
    """An ended view keeps neither the connection nor its streams in memory."""
    virtual = VirtualSession(watch=True)
    view = watch(virtual.conn)
    chain = watch(virtual.conn.incoming, ops.map(str), scheduler=virtual.clock)
    virtual.peer.close(1000)
    virtual.settle()
    gone = weakref.ref(virtual.session)
    del virtual
    gc.collect()
    assert gone() is None
    assert view.state == chain.state == "ended"


# --- recordings ---------------------------------------------------------------------------------


async def test_a_recording_is_watched_until_its_lanes_have_ended() -> None:
    """A watched recording grows with its taps until all lanes have ended."""
    recording, source = rxws.Recording(), Subject[int]()
    view = watch(recording, title="Taps", rate=1000)
    source.pipe(recording.tap("a"), ops.map(str), recording.tap("b")).subscribe()
    source.on_next(1)
    assert seen(view, "b") == ["1"]
    assert views() == [view]
    source.on_completed()
    await view
    assert views() == []
    assert repr(view) == "<View 'Taps': a 1, b 1, ended>"


def test_an_ended_recording_is_drawn_once() -> None:
    """The view of an ended recording ends at once."""
    recording = rxws.Recording()
    rx.of(1).pipe(recording.tap("a")).subscribe()
    assert watch(recording).state == "ended"
    assert views() == []


# --- how it shows itself ------------------------------------------------------------------------


def test_a_view_shows_itself_as_text_and_html() -> None:
    """A view shows itself as HTML and as text; `print` writes the text."""
    virtual = VirtualSession(watch=True)
    view = watch(virtual.conn)
    virtual.peer.message("a")
    bundle = view._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/html"].startswith(view.svg())
    assert bundle["text/plain"] == view.text() == str(view)


@pytest.mark.parametrize(
    ("source", "steps", "options", "said"),
    [
        ([1, 2], (), {}, r"not \[1, 2\]"),
        (rxws.connect("ws://localhost:1"), (), {}, "await it first"),
        (rxws.Recording(), (ops.take(1),), {}, r"watch\(conn.incoming, \*steps\)"),
        (rx.never(), (3,), {}, "step 1 is not an operator: 3"),
        (rx.never(), (ops.take(1), ("a", 3)), {}, "step 2 is not an operator"),
        (rx.never(), ((3, ops.take(1)),), {}, "step 1 is not an operator"),
        (rx.never(), (rx.never(),), {}, "step 1 is not an operator"),
        (rx.never(), (lambda _: 3,), {}, "step 1, 'step 1', returned 3 instead of an Observable"),
        (rx.never(), (lambda n: n + 1,), {}, "step 1, .* must be an operator, so use ops.map"),
        (rx.never(), (ops.take(1), lambda n: n.upper()), {}, "step 2, .* so use ops.map"),
        (rx.never(), (), {"rate": 0}, "rate=0 must be above 0"),
        (rx.never(), (), {"window": 0}, "window=0 must be above 0"),
    ],
)
def test_a_wrong_argument_is_refused(
    source: Any, steps: tuple[Any, ...], options: dict[str, Any], said: str
) -> None:
    """A wrong argument raises an error with a remedy, and nothing is subscribed."""
    with pytest.raises((TypeError, ValueError), match=said):
        watch(source, *steps, **options)
    assert views() == []


def test_a_step_may_concatenate_with_plus() -> None:
    """A step may be a function that adds an Observable to the stream with `+`."""
    view = watch(rx.of(1), lambda stream: stream + rx.of(2))
    assert "step 1 2, ended" in repr(view)


def test_a_notebook_shows_the_meaning_of_a_close_code() -> None:
    """A notebook shows the meaning of a close code, which the repr does not have."""

    class Printer:
        said = ""
        stack: ClassVar = [0]

        def text(self, text: str) -> None:
            self.said += text

    printer = Printer()
    Close(1001, by="peer")._repr_pretty_(printer, False)
    assert printer.said == "Close(code=1001, reason='', by='peer')  # going away"
    printer.said = ""
    Close(4001)._repr_pretty_(printer, False)
    assert printer.said == repr(Close(4001))
    pretty: Any = ipython.pretty  # untyped
    closes = [Close(1000), Close(1001)]
    assert pretty(closes, max_width=200) == repr(closes)
    assert pretty(closes[0]) == f"{closes[0]!r}  # normal closure"


def test_steps_use_the_time_of_the_source() -> None:
    """Without a scheduler, the steps and the times of a view are those of the watched stream."""
    virtual = VirtualSession()
    view = watch(virtual.conn.incoming, ops.debounce(0.5))
    virtual.conn.incoming.subscribe()
    with refuse_real_time() as uses:
        virtual.peer.message("a")
        virtual.run(1)
    view.stop()
    assert uses.first is None
    [debounced] = [each for each in view.recording.lanes["debounce"].events if each.type == "next"]
    assert (debounced.t, debounced.data) == (0.5, "a")
