"""`watch`: a live view of a connection, a recording or an Observable."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import Any, cast

from reactivex import Observable
from reactivex.abc import DisposableBase, SchedulerBase
from reactivex.disposable import CompositeDisposable

from rxws._core.connection import Connection
from rxws._core.streams.scheduled import scheduler_of
from rxws._reconnect.channels import UNSET, Channel
from rxws._reconnect.subject import WebSocketSubject
from rxws._recording.client import STATUS, watch_status
from rxws._recording.diagram.records import Label
from rxws._recording.recording import Recording
from rxws._session.incoming import IncomingStream
from rxws._session.outgoing import Outgoing
from rxws.viz import running

from .chain import Chain, Operator, watch_only
from .failures import Failure
from .operator_names import label
from .view import View

__all__ = ["views", "watch"]

_UNOBSERVED_INCOMING = (
    "Nobody is subscribed to incoming, so its messages stay buffered. Watching does not subscribe: "
    "call `conn.incoming.subscribe()` to receive them."
)
_UNOBSERVED_CLIENT = (
    "Nobody is subscribed, so nothing is received. Watching does not subscribe: "
    "call `subscribe()` to open the connection or channel."
)


def watch(
    source: Connection[Any, Any] | Recording | Observable[Any],
    *steps: Operator | tuple[str, Operator],
    title: str | None = None,
    label: Label | None = None,
    window: float | None = 10.0,
    rate: float = 8,
    scheduler: SchedulerBase | None = None,
) -> View:
    """Draw a live marble diagram of a stream below the running cell, with a line for each step.

    `watch` does not subscribe to a connection, its streams, a `WebSocketSubject` or its channels:
    messages stay buffered until you subscribe, and a client does not connect. It subscribes once to
    any other Observable, such as `conn.incoming.pipe(…)`. If a step raises an exception, the
    diagram shows it; the source and its subscribers are not affected.

    If a step emits Observables, or subscribes to others, as `group_by`, `flat_map` and `merge` do,
    each of them has a line, too.

    Args:
        source: A connection, a `Recording`, or any Observable such as `conn.incoming`. Watch a
            `Recording` to see the taps in a running handler.
        *steps: Operators, or pairs `("name", operator)`, to apply to an Observable.
        title: The title above the diagram. For a connection the default is its address.
        label: What the diagram shows of a value: the name of a field of dicts and records, or a
            function that returns a label for a value. Values for which it raises or returns None
            have the default label: of records that is the fields that change from value to value.
        window: How many of the latest seconds the diagram shows; None for everything.
        rate: How often per second the diagram is redrawn, if something changed.
        scheduler: The scheduler for the steps and for the times; by default that of the source, or
            the running event loop.

    Returns:
        The view. It stops when its cell runs again.

    Raises:
        TypeError: `source`, `label` or a step has the wrong type.
        ValueError: `window` or `rate` is not above 0.

    Examples:
        In a notebook, watch a connection's messages and the output of each step:

        ```python
        view = watch(conn.incoming, ops.map(json.loads), ("calm", ops.debounce(0.15)))
        ```

        Outside a notebook, print the diagram:

        >>> import reactivex as rx
        >>> from reactivex import operators as ops
        >>> view = watch(rx.of(1, 2), ops.map(str))
        >>> view
        <View source 2, map 2, ended>
    """
    if not rate > 0:
        raise ValueError(f"rate={rate!r} must be above 0: it is the number of redraws per second")
    if window is not None and not window > 0:
        raise ValueError(f"window={window!r} must be above 0 seconds, or None for everything")
    if isinstance(source, Connection | Recording):
        if steps:
            raise TypeError(
                f"the steps {steps!r} need an Observable: use watch(conn.incoming, *steps), or "
                "watch a Recording with taps"
            )
        if isinstance(source, Connection):
            recording = Recording.of(source, label=label)
            recording.title = recording.title if title is None else title
            view, stop = View(recording, window, rate), partial(_stop, recording)
            return view.begin_connection(source, _UNOBSERVED_INCOMING, stop)
        if title is not None:
            source.title = title
        if label is not None:
            source.label = label
        return View(source, window, rate).begin_recording()
    if not isinstance(cast(object, source), Observable):
        raise TypeError(
            f"watch() takes a connection, a Recording or an Observable, not {source!r}"
            + (": await it first" if hasattr(source, "__aenter__") else "")
        )
    named = _name_steps(source, steps)
    if scheduler is None:
        with suppress(RuntimeError):  # no loop is running
            scheduler = scheduler_of(source)
    recording = Recording(scheduler=scheduler, title=title or "", label=label)
    return _watch_chain(View(recording, window, rate), source, named, scheduler)


def views() -> list[View]:
    """Return the running views, oldest first.

    Returns:
        All running views of `watch` and `frames`.

    Examples:
        ```python
        for view in rxws.viz.views():
            print(view)
        ```
    """
    return running.of_type(View)


def _stop(recording: Recording) -> None:
    recording.stop()
    for lane in (recording.lane("incoming"), recording.lane("outgoing")):
        if not lane.ended:
            lane.record("disposed")


def _watch_chain(
    view: View,
    source: Observable[Any],
    steps: list[tuple[str, str, Operator]],
    scheduler: SchedulerBase | None,
) -> View:
    recording, stream = view.recording, cast(Any, source)
    name, hint = _lane_and_hint(source)
    chain = Chain(watch_only(source), name, steps, recording)
    watches = CompositeDisposable()
    if isinstance(source, WebSocketSubject):
        watches.add(watch_status(cast(Any, source), recording.lane(STATUS)))

    def end(failure: Failure | None = None) -> None:
        if isinstance(source, IncomingStream) and source.close is not None:
            # So that the diagram shows the close code at the end of incoming.
            recording.lane("closed").record("next", source.close)
        view.end(failure)

    def begin() -> DisposableBase:
        watches.add(
            chain.observable.subscribe(
                on_error=lambda error: end(chain.failure(error)),
                on_completed=end,
                scheduler=scheduler,
            )
        )
        return watches

    return view.begin(begin, stream if hint else None, hint)


def _lane_and_hint(source: Observable[Any]) -> tuple[str, str]:
    """Return the name of the source's lane, and a hint for the time without subscribers."""
    if isinstance(source, IncomingStream):
        return "incoming", _UNOBSERVED_INCOMING
    if isinstance(source, WebSocketSubject):
        return "incoming", _UNOBSERVED_CLIENT
    if isinstance(source, Channel):
        return "channel" if source.key is UNSET else f"{source.key}", _UNOBSERVED_CLIENT
    return "outgoing" if isinstance(source, Outgoing) else "source", ""


def _name_steps(
    source: Observable[Any], steps: tuple[Operator | tuple[str, Operator], ...]
) -> list[tuple[str, str, Operator]]:
    """Return the unique name, the detail and the operator of each step."""
    named: list[tuple[str, str, Operator]] = []
    taken = {_lane_and_hint(source)[0]}
    if isinstance(source, WebSocketSubject):
        taken.add(STATUS)
    for number, step in enumerate(steps, 1):
        given = cast("tuple[object, ...]", step if isinstance(step, tuple) else ("", step))
        if len(given) != 2 or not isinstance(given[0], str) or not callable(given[1]):
            raise TypeError(
                f"step {number} is not an operator: {step!r}; use one such as ops.map(fn), or a "
                'pair ("name", operator)'
            )
        operator = cast("Operator", given[1])
        name, detail = label(operator, number)
        name = given[0] or name
        unique, count = name, 1
        while unique in taken:
            count += 1
            unique = f"{name} #{count}"
        taken.add(unique)
        named.append((unique, detail, operator))
    return named
