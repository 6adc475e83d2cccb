"""Reads what a topic keeps, once for all who want it at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from reactivex.abc import SchedulerBase

from rxws._core.schedulers.timers import Deadline
from rxws._core.streams.stream import call_each

from ._history import Kept
from ._messages import Position
from ._turns import Turns

__all__ = ["HistoryReader", "OnKept"]

OnKept: TypeAlias = Callable[[Kept | Exception], None]

_Read: TypeAlias = Callable[[Position | None, int | None, OnKept], None]


_FRESH = 1.0  # seconds


class ReaderHost(Protocol):
    """See `TopicRegistry`."""

    turns: Turns

    @property
    def scheduler(self) -> SchedulerBase: ...
    def post(self, action: Callable[[], object]) -> object: ...


class _Want(NamedTuple):
    since: Position | None
    limit: int | None
    on_kept: OnKept


class HistoryReader:
    """Combines the wishes of all views that begin together or while an answer is outstanding.

    Args:
        host: The hub.
        read: Reads from the backplane.
    """

    __slots__ = ("_busy", "_host", "_latest", "_read", "_retries", "_timer", "_wants", "reading")

    def __init__(self, host: ReaderHost, read: _Read) -> None:
        self._host = host
        self._read = read
        self._busy = False
        self.reading = False
        """Whether a read is on its way, whose answer is newer than what views have seen."""
        self._wants: list[_Want] = []
        self._retries: list[Callable[[], None]] = []
        self._latest: tuple[Position | None, int | None, Kept] | None = None
        self._timer = Deadline(host.scheduler)

    def want(self, since: Position | None, limit: int | None, on_kept: OnKept) -> None:
        """Read everything after a position, or the newest `limit` messages, in a later turn."""
        self._wants.append(_Want(since, limit, on_kept))
        self._request()

    def call_when_read(self, callback: Callable[[], None]) -> None:
        """Call when the answer to the current read is there, as it may be the `latest` one."""
        self._retries.append(callback)

    def latest(self, since: Position | None, limit: int | None) -> Kept | None:
        """Return the latest answer if it is less than a second old and contains what is wanted."""
        if self._latest is None:
            return None
        first, count, kept = self._latest
        if first is not None and first.epoch == kept.top.epoch:
            contained = since is not None and since.epoch == first.epoch and since >= first
        else:
            contained = count is None or (limit is not None and limit <= count)
        return kept if contained else None

    def clear(self) -> None:
        """Forget the latest answer."""
        self._timer.clear()
        self._latest = None

    def _request(self) -> None:
        if self._wants and not self._busy:
            self._busy = True
            self._host.turns.add(self._read_soon)

    def _read_soon(self) -> bool:
        """Read after all views that were about to begin have said what they want."""
        self._host.post(self._read_all)
        return False

    def _read_all(self) -> None:
        wants, self._wants = self._wants, []
        since, limit = _combine(wants)
        self.reading = True

        def done(kept: Kept | Exception) -> None:
            self._busy = self.reading = False
            self._request()
            if isinstance(kept, Kept):
                self._latest = since, limit, kept
                self._timer.set(_FRESH, self.clear)
            retries, self._retries = self._retries, []
            call_each(lambda want: want.on_kept(kept), wants)
            call_each(lambda retry: retry(), retries)

        self._read(since, limit, done)


def _combine(wants: list[_Want]) -> tuple[Position | None, int | None]:
    """Return one position and limit whose answer contains those of all."""
    limits = [want.limit for want in wants if want.since is None]
    positions = [want.since for want in wants if want.since is not None]
    if not positions:
        return None, None if None in limits else max(limit for limit in limits if limit is not None)
    if not limits and len({position.epoch for position in positions}) == 1:
        return min(positions), None
    return None, None
