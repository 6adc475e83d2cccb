"""The logger of rxws."""

from __future__ import annotations

import functools
import logging
from typing import Any

__all__ = ["LogOnce", "logger", "name_of", "one_line", "text_of"]

logger = logging.getLogger("rxws")

_MAX_LENGTH = 400


class LogOnce:
    """Log at a level once, and then at DEBUG: somebody could repeat the cause endlessly."""

    __slots__ = ("_level",)

    def __init__(self, level: int) -> None:
        self._level = level

    def __call__(self, text: str, *args: object, error: Exception | None = None) -> None:
        logger.log(self._level, text, *args, exc_info=error)
        self._level = logging.DEBUG


def text_of(error: BaseException) -> str:
    """Return `str(error)`, or the name of the exception's class if its `__str__` raises."""
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an exception's text for a log, in one line: it may quote what a peer has sent."""
    text = " ".join(text_of(error).split())
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}…"


def name_of(handler: object) -> str:
    """Return a handler's name for logs: `module.qualname` of its function or class."""
    while isinstance(handler, functools.partial):
        handler = handler.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    named: Any = handler if hasattr(handler, "__qualname__") else type(handler)
    return f"{named.__module__}.{named.__qualname__}"
