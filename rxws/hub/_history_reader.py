"""Reads what a topic keeps, once for all who want it at the same time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

from ._history import Kept
from ._messages import Position

__all__ = ["HistoryReader", "OnKept"]

OnKept: TypeAlias = Callable[[Kept | Exception], None]

_Read: TypeAlias = Callable[[Position | None, int | None, OnKept], None]


class _Want(NamedTuple):
    since: Position | None
    limit: int | None
    on_kept: OnKept


class HistoryReader:
    """Combines the wishes of one turn, and those that come while an answer is outstanding.

    Args:
        post: Calls back in the next turn.
        read: Reads from the backplane.
    """

    __slots__ = ("_busy", "_post", "_read", "_wants")

    def __init__(self, post: Callable[[Callable[[], object]], object], read: _Read) -> None:
        self._post = post
        self._read = read
        self._busy = False
        self._wants: list[_Want] = []

    def want(self, since: Position | None, limit: int | None, on_kept: OnKept) -> None:
        """Read everything after a position, or the newest `limit` messages, in a later turn."""
        self._wants.append(_Want(since, limit, on_kept))
        self._request()

    def _request(self) -> None:
        if self._wants and not self._busy:
            self._busy = True
            self._post(self._read_all)

    def _read_all(self) -> None:
        wants, self._wants = self._wants, []

        def done(kept: Kept | Exception) -> None:
            self._busy = False
            self._request()
            for want in wants:
                want.on_kept(kept)

        since, limit = _combine(wants)
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
