"""Subscribers of a client's topic that begin with history."""

from __future__ import annotations

from rxws.hub._history import Kept, Ring
from rxws.hub._messages import Position
from rxws.hub._view import RewindView, SinceView

__all__ = ["ClientRewindView", "ClientSinceView"]


class ClientSinceView(SinceView):
    """Everything after a position, which the client asks the server for when it subscribes."""

    __slots__ = ()

    @property
    def since(self) -> Position:
        assert self._since is not None
        return self._since

    def continues(self, since: Position | None) -> bool:
        """Return whether the view wants nothing from before this position."""
        return since is not None and since.epoch == self.since.epoch and since <= self.since


class ClientRewindView(RewindView):
    """The newest messages; a topic that is not numbered has none."""

    __slots__ = ()

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        if self._since is not None:
            super().on_kept(ring, kept)
        elif isinstance(kept, Exception):
            self.on_error(kept)
        elif ring.position is None:
            self._begin_unnumbered(kept.entries[-self._count :])
        else:
            super().on_kept(ring, kept)
