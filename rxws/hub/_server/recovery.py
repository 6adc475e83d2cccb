"""The messages that a client has missed when it subscribes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from rxws.hub._history import Entry, Kept, Ring
from rxws.hub._messages import Position
from rxws.hub._protocol.schema import SubscribeRequest, SubscribeResult

from .topics import ServedTopic

__all__ = ["Recovered", "Recovery", "RecoveryHost"]


class Recovered(NamedTuple):
    """The beginning of a subscription."""

    result: SubscribeResult
    publications: Sequence[str]
    """Their JSON, which belongs into the result."""
    position: Position | None
    """Everything up to here is in the result."""


class RecoveryHost(Protocol):
    """See `Subscription`."""

    @property
    def starting(self) -> bool:
        """Whether the subscription still wants to begin."""
        ...

    def on_recovered(self, recovered: Recovered) -> None: ...
    def on_unrecoverable(self) -> None:
        """The backplane has failed."""
        ...


class Recovery:
    """Finds what a client has missed: it is the `HistoryView` of a subscription."""

    __slots__ = ("_host", "_max_reply", "_request", "_since", "_topic")

    def __init__(
        self, host: RecoveryHost, topic: ServedTopic, request: SubscribeRequest, max_reply: int
    ) -> None:
        self._host = host
        self._topic = topic
        self._request = request
        self._max_reply = max_reply
        # An offset without an epoch says nothing, except that nothing was received.
        self._since = Position(request.epoch, request.offset) if request.recover else None

    @property
    def want(self) -> tuple[Position | None, int | None]:
        return self._since, None

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        if not self._host.starting:
            return True
        since, top = self._since, ring.position
        if since is not None and top is not None and not since.epoch and not since.offset:
            since = self._since = Position(top.epoch, 0)
        if since is None or top is None or since.epoch != top.epoch:
            self._finish(ring, None)
            return True
        entries = ring.after(since, oldest)
        if entries is None:
            return False
        self._finish(ring, entries)
        return True

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        if not self._host.starting:
            return
        since, top = self._since, ring.position
        assert since is not None
        if isinstance(kept, Exception) or top is None:
            self._host.on_unrecoverable()
            return
        entries: list[Entry] | None = None
        if since.epoch == kept.top.epoch == top.epoch:
            ahead = kept.top.offset >= top.offset  # then what is delivered late is left out
            newer = [] if ahead else ring.after(kept.top)
            entries = None if newer is None else [*kept.after(since), *newer]
        self._finish(ring, entries)

    def _finish(self, ring: Ring, entries: Sequence[Entry] | None) -> None:
        """Report what was found; the entries are None if it is not known what was missed."""
        since = self._since
        top = position = ring.position
        texts = None
        if entries is not None:
            texts = self._topic.texts_of(since, entries, self._max_reply)
        epoch, offset = top or ("", 0)
        if texts is not None:
            assert entries is not None
            assert since is not None
            assert top is not None
            offset = since.offset
            # This process may be behind the one that the client was at before, or behind its ring.
            position = max(since, top, *(each.position or top for each in entries))
        result = SubscribeResult(
            recoverable=top is not None,
            positioned=top is not None,
            epoch=epoch,
            offset=offset,
            recovered=texts is not None,
            was_recovering=self._request.recover,
        )
        self._host.on_recovered(Recovered(result, texts or (), position))
