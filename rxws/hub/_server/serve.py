"""`hub.serve`: an aiohttp route handler that speaks the protocol."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from reactivex.abc import DisposableBase

from rxws import codecs
from rxws._aiohttp.acceptor import SERVER_OPTIONS
from rxws._aiohttp.route import RouteHandler
from rxws._core.connection import Connection
from rxws._core.log import logger, one_line
from rxws._session.option_names import check_names
from rxws._session.options import Options
from rxws.hub._protocol.codes import Disconnect

from .client import ClientSession
from .options import Allow, Identify, Limits
from .served import Served
from .topics import ServedTopics

__all__ = ["serve"]

_LIMITS = frozenset(Limits.__dataclass_fields__)
_MAX_MESSAGE_SIZE = 64 << 10
_FIXED = {
    "codec": "the protocol is JSON, and the payloads have the codec of the hub",
    "overflow": "a client that lost messages unseen could not continue; a slow one is disconnected "
    "and continues after its position",
    "incoming": "the hub reads all messages",
    "protocols": "the protocol is JSON, which has no subprotocol",
}


def serve(
    topics: ServedTopics,
    *,
    user: Identify | None,
    allow: Allow,
    origins: str | Iterable[str] | None,
    **options: Any,
) -> RouteHandler[str | bytes, str | bytes]:
    """Return the route handler; see `Hub.serve`."""
    for name, function in (("user", user), ("allow", allow)):
        if not callable(function) and (name == "allow" or function is not None):
            raise TypeError(f"{name}={function!r:.80} is not callable: use a function")
    for name, reason in _FIXED.items():
        if name in options:
            raise TypeError(f"hub.serve takes no {name}=: {reason}")
    check_names("hub.serve", options, (SERVER_OPTIONS | _LIMITS) - _FIXED.keys())
    limits = Limits(**{name: options.pop(name) for name in _LIMITS & options.keys()})
    options = {"max_message_size": _MAX_MESSAGE_SIZE, "origins": origins, **options}
    max_reply = options.get("max_buffer", Options().max_buffer) // 2
    served = Served(topics, user, allow, limits, max_reply)
    run = partial(_run, served)
    return RouteHandler[str | bytes, str | bytes].of(run, {"codec": codecs.raw, **options})


def _run(served: Served, connection: Connection[Any, Any]) -> DisposableBase | None:
    try:
        served.hub.start_if_local()
    except RuntimeError as exc:
        logger.error("hub.serve: %s", one_line(exc))
        connection.outgoing.on_next(Disconnect.SERVER_ERROR.close())
        return None
    return ClientSession(served, connection).start()
