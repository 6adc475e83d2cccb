"""The logger of rxws."""

import functools
import logging
from typing import Any

__all__ = ["logger", "name_of", "one_line", "text_of"]

logger = logging.getLogger("rxws")

_MAX_LENGTH = 400


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
