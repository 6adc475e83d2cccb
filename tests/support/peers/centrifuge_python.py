"""Handlers for centrifuge-python, which calls a method for each event."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Events"]


class Events:
    """Ignores all events; a subclass defines the methods for those that it wants."""

    def __getattr__(self, name: str) -> Callable[[Any], Awaitable[None]]:
        if not name.startswith("on_"):
            raise AttributeError(name)
        return _ignore


async def _ignore(_: Any) -> None:
    """Do nothing."""
