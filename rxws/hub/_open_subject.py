"""A Subject that no publisher can end."""

from __future__ import annotations

from typing import TypeVar

from reactivex.subject import Subject

from rxws._core.errors import ConnectionClosed, short_repr
from rxws._core.log import logger, one_line

__all__ = ["OpenSubject"]

T = TypeVar("T")


class OpenSubject(Subject[T]):
    """A topic of a hub or of a client: many publish to it, and none of them ends it."""

    is_stopped = False  # RxPY's Subject has these; a topic never stops
    is_disposed = False
    exception: Exception | None = None
    _name: str

    @property
    def name(self) -> str:
        """The topic's name."""
        return self._name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {short_repr(self._name)}>"

    def on_error(self, error: Exception) -> None:
        """Log the error of a pipeline that publishes; the topic stays open."""
        if not isinstance(error, ConnectionClosed):  # the end of a connection is no fault
            text = "a publisher of topic %s failed: %s"
            logger.error(text, short_repr(self._name), one_line(error), exc_info=error)

    def on_completed(self) -> None:
        """Do nothing: others may publish, too."""

    def dispose(self) -> None:
        """Do nothing: others use the topic, too. Dispose your subscriptions instead."""
