"""`watch`: what is given to it becomes a view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxws._core.connection import Connection
from rxws._core.loop_scheduler import LoopScheduler
from rxws._core.streams import Stream
from rxws._reconnect.channels import UNSET, Channel
from rxws._reconnect.subject import WebSocketSubject
from rxws._recording.recording import Recording
from rxws._session.incoming import IncomingStream
from rxws._session.outgoing import Outgoing
from rxws.viz import running

from .chain import Chain, Operator, watched
from .failures import Failure
from .operator_names import label
from .view import View

__all__ = ["views", "watch"]

_UNHEARD = (
    "Nobody is subscribed to incoming: its messages wait, as watching does not count. "
    "`conn.incoming.subscribe()` lets them come."
)
_NOT_ASKED = (
    "Nobody is subscribed: nothing is opened or asked for, as watching does not count. "
    "`subscribe()` lets values come."
)


def watch(
    source: Connection[Any, Any] | Recording | Observable[Any],
    *steps: Operator | tuple[str, Operator],
    title: str | None = None,
    window: float | None = 10.0,
    rate: float = 8,
    scheduler: SchedulerBase | None = None,
) -> View:
    """Draw a live marble diagram of a flow, and of each step of a chain, under the running cell.

    Watching a connection, one of its streams, a `WebSocketSubject` or a channel of one changes
    nothing: it is no subscriber, so messages that nobody subscribes wait, none comes or is dropped
    because of it, and nothing is dialled. Every other Observable, `conn.incoming.pipe(…)` too, is
    subscribed, once. An error in a step is shown below the picture, and reaches nobody else.

    Args:
        source: A connection; a `Recording`, as one whose taps are in a running handler; or any
            Observable, as `conn.incoming`.
        *steps: Operators, or `("name", operator)`, that are composed behind an Observable.
        title: What is said above the picture.
        window: The latest seconds that are drawn; all if None.
        rate: How often a second it is drawn anew, if something changed.
        scheduler: The time of the chain, and what its operators use; that of the running event loop
            if not given.

    Returns:
        The view. It is stopped when its cell is run again.

    Raises:
        TypeError: The source or a step is nothing of these.
        ValueError: The window or the rate is not above 0.

    Examples:
        ```python
        view = watch(conn.incoming, ops.map(json.loads), ("calm", ops.debounce(0.15)))
        ```
    """
    if not rate > 0:
        raise ValueError(f"rate={rate!r} would never draw: use pictures a second, as 8")
    if window is not None and not window > 0:
        raise ValueError(f"window={window!r} shows nothing: use seconds above 0, or None for all")
    if isinstance(source, Connection | Recording):
        if steps:
            raise TypeError(
                f"the steps {steps!r} need a stream: use watch(conn.incoming, *steps), or the "
                "taps of a Recording"
            )
        if isinstance(source, Recording):
            return _watch_recording(source, title, window, rate)
        return _watch_connection(source, title, window, rate)
    if not isinstance(cast(object, source), Observable):
        raise TypeError(
            f"watch() takes a connection, a Recording or an Observable, not {source!r}"
            + (": await it first" if hasattr(source, "__aenter__") else "")
        )
    return _watch_chain(source, _named(source, steps), title, window, rate, scheduler)


def views() -> list[View]:
    """Return the views that run, the oldest first.

    Examples:
        ```python
        for view in rxws.viz.views():
            print(view)
        ```
    """
    return running.running(View)


def _watch_connection(
    conn: Connection[Any, Any], title: str | None, window: float | None, rate: float
) -> View:
    recording = Recording.of(conn)
    recording.title = recording.title if title is None else title
    view = View(recording, window=window, rate=rate, hint=_hint(conn.incoming))

    def begin() -> DisposableBase:
        # The last of its streams to end: the recording has the others' ends then.
        errors = cast("Stream[Exception]", conn.errors)
        return CompositeDisposable(errors.watch(_End(view)), Disposable(leave))

    def leave() -> None:
        recording.stop()
        for lane in (recording.lane("incoming"), recording.lane("outgoing")):
            if not lane.ended:
                lane.note("disposed")

    view.begin(begin)
    return view


def _watch_recording(
    recording: Recording, title: str | None, window: float | None, rate: float
) -> View:
    if title is not None:
        recording.title = title
    lanes = recording.lanes

    def over() -> bool:
        return bool(lanes) and all(lane.ended for lane in lanes.values())

    view = View(recording, window=window, rate=rate, over=over)
    view.begin(Disposable)
    return view


def _watch_chain(
    source: Observable[Any],
    steps: list[tuple[str, str, Operator]],
    title: str | None,
    window: float | None,
    rate: float,
    scheduler: SchedulerBase | None,
) -> View:
    if scheduler is None:
        try:
            scheduler = LoopScheduler.running()
        except RuntimeError:
            scheduler = None
    recording = Recording(scheduler=scheduler, title=title or "")
    chain = Chain(watched(source), _first(source), steps, recording)
    view = View(recording, window=window, rate=rate, hint=_hint(source))

    def end(failure: Failure | None = None) -> None:
        if isinstance(source, IncomingStream) and source.close is not None:
            # As with a connection: its code stands at the end of what came in.
            recording.lane("closed").note("next", source.close)
        view.end(failure)

    view.begin(
        lambda: chain.observable.subscribe(
            on_error=lambda error: end(chain.failure(error)),
            on_completed=end,
            scheduler=scheduler,
        )
    )
    return view


class _End(ObserverBase[Any]):
    """Ends a view with a stream."""

    def __init__(self, view: View) -> None:
        self._view = view

    def on_next(self, value: Any) -> None:
        """Only the end counts."""

    def on_error(self, error: Exception) -> None:
        """See `on_completed`."""
        self._view.end()

    def on_completed(self) -> None:
        """End it."""
        self._view.end()


def _first(source: Observable[Any]) -> str:
    """The name of a source's lane."""
    if isinstance(source, IncomingStream | WebSocketSubject):
        return "incoming"
    if isinstance(source, Channel):
        return "channel" if source.key is UNSET else f"{source.key}"
    return "outgoing" if isinstance(source, Outgoing) else "source"


def _hint(source: Observable[Any]) -> Callable[[], str]:
    """What is said while nobody is subscribed to what waits for that."""
    if isinstance(source, IncomingStream):
        unheard = _UNHEARD
    elif isinstance(source, WebSocketSubject | Channel):
        unheard = _NOT_ASKED
    else:
        return str
    stream = cast("Stream[Any]", source)
    return lambda: "" if stream.observed else unheard


def _named(
    source: Observable[Any], steps: tuple[Operator | tuple[str, Operator], ...]
) -> list[tuple[str, str, Operator]]:
    """Give each step a name that no other has."""
    found: list[tuple[str, str, Operator]] = []
    taken = {_first(source)}
    for number, step in enumerate(steps, 1):
        given = cast("tuple[object, ...]", step if isinstance(step, tuple) else ("", step))
        if len(given) != 2 or not isinstance(given[0], str) or not callable(given[1]):
            raise TypeError(
                f"step {number} is no operator: {step!r}; use one, as ops.map(fn), or a pair "
                '("name", operator)'
            )
        operator = cast("Operator", given[1])
        name, detail = label(operator, number)
        name = given[0] or name
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name} #{count}"
        taken.add(unique)
        found.append((unique, detail, operator))
    return found
