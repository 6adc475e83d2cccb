"""The two paths on which frames come in, and which of them is taken: chosen once, at import."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from importlib.metadata import version
from typing import Literal

from aiohttp.http import WebSocketReader

from rxws._core.log import logger

from .private_api import why_not_push

__all__ = ["TransportInfo", "choose", "transport_info"]

_VARIABLE = "RXWS_TRANSPORT"


@dataclass(frozen=True, slots=True)
class TransportInfo:
    """How frames come in.

    Args:
        path: `"push"`: aiohttp's parser hands each message over by a call. `"pull"`: messages are
            awaited from aiohttp's public `receive()`, which costs more and does the same.
        reason: Why it is this path.
        aiohttp: aiohttp's version.
        parser: Whether aiohttp's parser is `"compiled"` or `"pure"` Python.
    """

    path: Literal["push", "pull"]
    reason: str
    aiohttp: str
    parser: Literal["compiled", "pure"]


def choose(wanted: str | None, lack: str | None) -> tuple[Literal["push", "pull"], str]:
    """Return the path and the reason, given what the user wants and what aiohttp lacks.

    Raises:
        ValueError: There is no such path.
    """
    if wanted not in (None, "", "push", "pull"):
        raise ValueError(f"{_VARIABLE}={wanted!r} is unknown: use 'push' or 'pull', or unset it")
    if wanted == "pull":
        return "pull", f"{_VARIABLE}=pull is set"
    if lack is not None:
        return "pull", lack
    return "push", "aiohttp has all that it needs"


def _look() -> TransportInfo:
    wanted = os.environ.get(_VARIABLE)
    path, reason = choose(wanted, why_not_push())
    # Who asks for push and does not get it is told; who asks for nothing gets what there is.
    say = logger.warning if wanted == "push" != path else logger.debug
    say("frames are %sed: %s", path, reason)
    return TransportInfo(
        path,
        reason,
        version("aiohttp"),
        "pure" if inspect.isfunction(WebSocketReader.feed_data) else "compiled",
    )


_INFO = _look()


def transport_info() -> TransportInfo:
    """Tell how frames come in, and why so.

    Returns:
        What was found at import. `RXWS_TRANSPORT=pull` in the environment chooses the other path.

    Examples:
        >>> transport_info().path in ("push", "pull")
        True
    """
    return _INFO
