"""Find the connections that feed an Observable, so that an operator can pause them."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from reactivex.abc import DisposableBase, ObserverBase

__all__ = [
    "MessageSource",
    "Pausable",
    "Upstream",
    "UpstreamMembers",
    "Upstreams",
    "collect_upstreams",
    "collectors",
    "forget_upstreams",
    "no_upstreams",
]


class Pausable(Protocol):
    """A source that can be paused: a `Flow`, or whichever connection a `WebSocketSubject` has."""

    def pause(self) -> DisposableBase:
        """Pause reading until the returned hold is disposed."""
        ...


class MessageSource(Protocol):
    """A stream that keeps messages for its next subscriber; see `IncomingStream`."""

    def put_back(self, data: Any, /) -> None:
        """Keep a delivered message again, ahead of all others."""
        ...


class Upstream(Pausable, Protocol):
    """What operators do with a connection, or with whichever one a `WebSocketSubject` has."""

    @property
    def closing(self) -> bool:
        """Whether pauses are ignored, because the connection is closing or has ended."""
        ...

    @property
    def delivering(self) -> bool:
        """Whether a message is being delivered."""
        ...

    def count_dropped(self, reason: str, count: int = 1) -> None:
        """Count dropped messages."""
        ...

    def fail(self, code: int, reason: str) -> None:
        """Close the connection, and fail its streams with `ConnectionClosed`; on any thread."""
        ...


class Upstreams:
    """The connections behind one subscription; each is listed while it is subscribed."""

    __slots__ = ("_counts", "_latest", "_pauses")

    tracks_delivery = False  # whether `begin_delivery` and `end_delivery` do anything

    def __init__(self) -> None:
        self._counts: dict[Upstream, int] = {}  # by flow, how often it is subscribed
        self._latest: Upstream | None = None  # the last one added; it counts what is dropped
        self._pauses: dict[Upstream, DisposableBase] | None = None  # None unless paused

    def __len__(self) -> int:
        return len(self._counts)

    def __iter__(self) -> Iterator[Pausable]:
        return iter(self._counts)

    def add(self, flow: Upstream) -> None:
        self._counts[flow] = self._counts.get(flow, 0) + 1
        self._latest = flow
        if self._pauses is not None and flow not in self._pauses:
            self._pauses[flow] = flow.pause()

    def discard(self, flow: Upstream) -> None:
        """Undo an `add`; a pause lasts until `resume`, as a value of the flow may be in use."""
        self._counts[flow] -= 1
        if not self._counts[flow]:
            del self._counts[flow]

    def pause(self) -> None:
        """Pause the connections, and those that are added from now on."""
        if self._pauses is None:
            self._pauses = {flow: flow.pause() for flow in self._counts}

    def resume(self) -> None:
        """End the pauses."""
        pauses, self._pauses = self._pauses, None
        for pause in (pauses or {}).values():
            pause.dispose()

    @property
    def closing(self) -> bool:
        """Whether one of the connections is closing."""
        return any(flow.closing for flow in self._counts)

    @property
    def delivering(self) -> bool:
        """Whether one of the connections is delivering a message."""
        return any(flow.delivering for flow in self._counts)

    def count_dropped(self, reason: str, count: int = 1) -> None:
        """Count dropped messages, also after the connection has left."""
        if self._latest is not None:
            self._latest.count_dropped(reason, count)

    def fail(self, code: int, reason: str) -> bool:
        """Close the connections, and fail their streams; return False if there is none."""
        for flow in tuple(self._counts):
            flow.fail(code, reason)
        return bool(self._counts)

    def begin_delivery(self) -> None:
        """A message is about to be delivered, to this subscription only."""

    def end_delivery(self, source: MessageSource, data: Any) -> None:
        """The message has been delivered; `source.put_back(data)` undoes that."""


# The collections that are active, the outermost first. They are in a context variable because
# asyncio copies the context into callbacks: a source that an operator subscribes to later, in such
# a callback, is added, too.
_COLLECTORS: ContextVar[tuple[Upstreams, ...]] = ContextVar("rxws.upstreams", default=())

collectors = _COLLECTORS.get
"""Return the active collections, the outermost first."""


class UpstreamMembers:
    """The collections that list a flow, by the observer because of which they do."""

    __slots__ = ("_flow", "_of")

    def __init__(self, flow: Upstream) -> None:
        self._flow = flow
        self._of: dict[ObserverBase[Any], tuple[Upstreams, ...]] = {}

    def enter(self, observer: ObserverBase[Any]) -> None:
        """Add the flow to the active collections until the observer leaves."""
        collections = self._of[observer] = collectors()
        for upstreams in collections:
            upstreams.add(self._flow)

    def leave(self, observer: ObserverBase[Any]) -> None:
        for upstreams in self._of.pop(observer, ()):
            upstreams.discard(self._flow)

    def clear(self) -> None:
        """All observers leave."""
        while self._of:
            self.leave(next(iter(self._of)))

    def begin_delivery(self, observers: tuple[ObserverBase[Any], ...]) -> Upstreams | None:
        """Return the collection that tracks the delivery to these observers, if any.

        Only a message with one subscriber can be put back: others would get it twice.
        """
        if len(observers) == 1:
            for upstreams in reversed(self._of.get(observers[0], ())):
                if upstreams.tracks_delivery:
                    upstreams.begin_delivery()
                    return upstreams
        return None


@contextmanager
def collect_upstreams(
    upstreams: Upstreams, outer: tuple[Upstreams, ...] | None = None
) -> Generator[None]:
    """Collect the flow of each connection whose `incoming` is subscribed in the `with` block.

    Any number of operators may lie in between. Flows may be added after the block has ended: an
    operator such as `concat` subscribes to its next source later, on the event loop.

    Args:
        upstreams: The innermost collection.
        outer: The collections around it; by default those that are active now.
    """
    token = _COLLECTORS.set((*(_COLLECTORS.get() if outer is None else outer), upstreams))
    try:
        yield
    finally:
        _COLLECTORS.reset(token)


@contextmanager
def no_upstreams() -> Generator[None]:
    """Collect nothing in the `with` block."""
    token = _COLLECTORS.set(())
    try:
        yield
    finally:
        _COLLECTORS.reset(token)


def forget_upstreams() -> None:
    """Collect nothing more in the current context."""
    _COLLECTORS.set(())
