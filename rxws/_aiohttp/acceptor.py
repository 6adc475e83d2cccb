"""The server's side of the handshake: check a request, upgrade it, and run the connection."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.web import BaseRequest

from rxws import codecs
from rxws._core import instrumentation
from rxws._core.connection import Address, Handler, Handshake
from rxws._core.log import logger
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._session.handler import run_handler
from rxws._session.options import OPTION_NAMES, Options
from rxws._session.session import Session
from rxws.codecs import Codec

from .handshake import complete_answer, may_deflate, request_violation
from .origins import is_allowed, parse_origins
from .shutdown import connections_of
from .transport.adapter import AiohttpTransport
from .transport.kernel import limit_send_buffer
from .transport.private_api import PushServerSocket, parser_limit
from .transport.read_path import transport_info

__all__ = ["SERVER_OPTIONS", "Acceptor"]

SERVER_OPTIONS = OPTION_NAMES | {"origins", "incoming"}
"""The names of all options of a server's connection."""

# aiohttp answers with a 500 and logs a traceback if one of these is not ASCII.
_ASCII = (
    hdrs.CONNECTION,
    hdrs.SEC_WEBSOCKET_KEY,
    hdrs.SEC_WEBSOCKET_PROTOCOL,
    hdrs.SEC_WEBSOCKET_EXTENSIONS,
)


class _Answer(web.StreamResponse):
    """Completes the headers of the answer: aiohttp has set its own when it calls `prepare`."""

    async def prepare(self, request: BaseRequest) -> AbstractStreamWriter | None:
        """See aiohttp."""
        if answer := self.headers.get(hdrs.SEC_WEBSOCKET_EXTENSIONS):
            completed = complete_answer(request.headers, answer)
            self.headers[hdrs.SEC_WEBSOCKET_EXTENSIONS] = completed
        return await super().prepare(request)


# `_Answer` comes second, so that the method `prepare` of WebSocketResponse calls that of `_Answer`.
class _PullSocket(  # pyright: ignore[reportIncompatibleMethodOverride] # aiohttp's `write_eof`
    web.WebSocketResponse, _Answer
):
    """A server's WebSocket for the pull path."""

    async def close(self, *_: Any, **__: Any) -> bool:
        """Do nothing: aiohttp calls this with close codes that the session has not chosen."""
        return False


class _PushSocket(_PullSocket, PushServerSocket):
    """A server's WebSocket for the push path; `close` does nothing here, too."""


class Acceptor:
    """Checks the options of a route once, and turns each of its requests into a connection."""

    def __init__(
        self,
        codec: Codec[Any, Any] = codecs.raw,
        origins: str | Iterable[str] | None = None,
        **options: Any,
    ) -> None:
        self._options = Options(codec=codec, **options)
        self._origins = parse_origins(origins)

    async def accept(self, request: web.Request, handler: Handler[Any, Any]) -> web.StreamResponse:
        """Check a request, upgrade it, and run its connection until it ends."""
        with instrumentation.active.server(request) as telemetry:
            self._check(request)
            connections = connections_of(request)
            if connections is not None and connections.closing:
                raise web.HTTPServiceUnavailable(text="shutting down")
            options = self._options
            compress = options.compress and may_deflate(request.headers)
            socket_class = _PushSocket if transport_info().path == "push" else _PullSocket
            ws = socket_class(
                autoclose=False,
                autoping=False,
                protocols=options.protocols,
                compress=compress,
                max_msg_size=parser_limit(options.max_message_size, compress),
            )
            try:
                await ws.prepare(request)
            except ConnectionError:  # aiohttp would log it as an error of the handler
                return ws
            transport = request.transport
            if transport is None:  # pragma: no cover # lost during the handshake
                return ws
            adapter = AiohttpTransport(ws, transport, options.max_message_size)
            if options.kernel_buffer is not None:
                limit_send_buffer(transport, options.kernel_buffer)
            remote = _remote_of(request, transport)
            handshake = Handshake(request.url, request.headers, ws.ws_protocol, remote, request)
            session: Session[Any, Any] = Session(
                adapter, LoopScheduler.running(), options, handshake, telemetry
            )
            if connections is not None:
                connections.add(session)
            try:
                try:
                    run_handler(handler, session)
                finally:  # also after a CancelledError of the handler: send the close frame
                    await adapter.run(session)
            finally:
                if connections is not None:
                    connections.remove(session)
            return ws

    def _check(self, request: web.Request) -> None:
        headers = request.headers
        if request.method != "GET":  # RFC 6455, section 4.1
            raise web.HTTPMethodNotAllowed(request.method, ["GET"])
        upgrade = headers.get(hdrs.UPGRADE, "")
        if not upgrade.isascii() or upgrade.lower().strip() != "websocket":
            raise _upgrade_required("this address speaks WebSocket only")
        if request.version < HttpVersion11:
            raise _upgrade_required("a WebSocket requires HTTP/1.1: check the proxy's settings")
        if headers.getall(hdrs.SEC_WEBSOCKET_VERSION, []) != ["13"]:  # RFC 6455, section 4.4
            version = {hdrs.SEC_WEBSOCKET_VERSION: "13"}
            raise _upgrade_required("this address speaks WebSocket version 13", version)
        ascii_only = "".join([headers.get(name, "") for name in _ASCII]).isascii()
        if not ascii_only or not _has_url(request):
            raise web.HTTPBadRequest(text="a header of the handshake is malformed\n")
        if not is_allowed(headers.getall(hdrs.ORIGIN, []), request.host, self._origins):
            logger.info("refused origin %r", headers.get(hdrs.ORIGIN))
            raise web.HTTPForbidden(text="this origin may not connect\n")
        if violation := request_violation(headers):
            raise web.HTTPBadRequest(text=f"{violation}\n")


def _remote_of(request: web.Request, transport: asyncio.Transport) -> Address:
    """Return the peer's address, or what a middleware has set with `request.clone(remote=…)`."""
    address: Address = transport.get_extra_info("peername")
    host = str(address[0]) if isinstance(address, tuple) else address
    return address if request.remote in (host, None) else request.remote


def _upgrade_required(text: str, headers: dict[Any, str] | None = None) -> Exception:
    return web.HTTPUpgradeRequired(
        headers={hdrs.UPGRADE: "websocket", hdrs.CONNECTION: "Upgrade", **(headers or {})},
        text=f"{text}\n",
    )


def _has_url(request: web.Request) -> bool:
    """Return whether the request has a valid URL; an invalid `Host` header makes it invalid."""
    try:
        return bool(request.url)
    except ValueError:
        return False
