"""Choose between the push reader and the pull reader, once, at import."""

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
    """How rxws reads frames from aiohttp.

    Args:
        path: `"push"` if aiohttp's parser calls rxws with each message, or `"pull"` if rxws awaits
            aiohttp's public `receive()`. Both behave the same; pull is slower.
        reason: Why this path was chosen.
        aiohttp: The version of aiohttp.
        parser: Whether aiohttp's frame parser is `"compiled"` or `"pure"` Python.
    """

    path: Literal["push", "pull"]
    reason: str
    aiohttp: str
    parser: Literal["compiled", "pure"]


def choose(wanted: str | None, lack: str | None) -> tuple[Literal["push", "pull"], str]:
    """Return the path to take and the reason. `wanted` is the value of `RXWS_TRANSPORT`."""
    if wanted not in (None, "", "push", "pull"):
        raise ValueError(f"{_VARIABLE}={wanted!r} is unknown: use 'push' or 'pull', or unset it")
    if wanted == "pull":
        return "pull", f"{_VARIABLE}=pull is set"
    if lack is not None:
        return "pull", lack
    return "push", "aiohttp supports the push path"


def _choose_at_import() -> TransportInfo:
    wanted = os.environ.get(_VARIABLE)
    path, reason = choose(wanted, why_not_push())
    log = logger.warning if wanted == "push" and path == "pull" else logger.debug
    log("rxws reads frames on the %s path: %s", path, reason)
    is_pure = inspect.isfunction(WebSocketReader.feed_data)
    return TransportInfo(path, reason, version("aiohttp"), "pure" if is_pure else "compiled")


_INFO = _choose_at_import()


def transport_info() -> TransportInfo:
    """Return how rxws reads frames from aiohttp, and why.

    The choice is made when rxws is imported. Set `RXWS_TRANSPORT=pull` in the environment to use
    only aiohttp's public API.

    Returns:
        The chosen path and its reason, the version of aiohttp and the kind of its parser.

    Examples:
        >>> transport_info().path in ("push", "pull")
        True
    """
    return _INFO
