"""Finds the line that pushed a value that cannot be encoded, and whether others got it, too.

It looks at the stack, where the calls that led to the failure are. So only a failure costs time.
"""

from __future__ import annotations

import inspect
from types import FrameType
from typing import Any

from reactivex.observer.scheduledobserver import ScheduledObserver
from reactivex.subject import Subject

from rxws._core.errors import EncodeError

from .incoming import IncomingStream

__all__ = ["blame"]

_LOOPS = ("asyncio", "uvloop", "concurrent", "threading", "rxws.testing")
_LIBRARIES = ("rxws", "reactivex", *_LOOPS)
_HANDLERS = "rxws._session.handler"


def blame(error: EncodeError, incoming: IncomingStream[Any]) -> None:
    """Set `pushed_at` and `shared` of an error, if the call that pushed the value is on the stack.

    A value is shared if it comes from another connection, from another HTTP request, or from a
    Subject that also has other subscribers. Then the fault is not that of this connection.

    Args:
        error: The error that the codec has raised.
        incoming: The `incoming` of the connection that was to send the value.
    """
    if error.pushed_at:  # a codec may raise one error several times
        error.__notes__.remove(_note(error))
    error.pushed_at, error.shared = "", False
    through_subject = False
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        module: str = frame.f_globals.get("__name__", "")
        caller: Any = frame.f_locals.get("self")
        if isinstance(caller, IncomingStream):
            if caller is not incoming:
                error.shared = True
            elif not error.shared:
                return  # what this connection has received
        elif type(caller) is ScheduledObserver:
            error.shared = True  # only a ReplaySubject uses this class itself
        elif _is_in(module, "reactivex") and _is_subject(caller):
            through_subject = True
            # A BehaviorSubject got the value earlier, from anybody.
            replays = frame.f_code.co_name == "_subscribe_core"
            error.shared = error.shared or replays or len(caller.observers) > 1
        elif module == _HANDLERS:
            return
        elif _is_in(module, "aiohttp"):
            error.shared = True  # the handler of another request
            return
        elif _is_in(module, *_LOOPS):
            break
        elif not error.pushed_at and not _is_in(module, *_LIBRARIES):
            code = frame.f_code
            error.pushed_at = f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"
            error.add_note(_note(error))
        frame = frame.f_back
    error.shared = error.shared or through_subject


def _note(error: EncodeError) -> str:
    return f"pushed at {error.pushed_at}"


def _is_in(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


def _is_subject(caller: object) -> bool:
    return isinstance(caller, Subject)
