"""The web application: the page's files, and the WebSocket to each page."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import reactivex as rx
from aiohttp import web
from reactivex import Observable

import rxws

from ._room import Room
from ._visitor import Visitor

__all__ = ["MAX_VISITORS", "add_playground"]

MAX_VISITORS = 50
_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_TYPES = {"html": "text/html", "css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}


def add_playground(app: web.Application, links: Mapping[str, str] | None = None) -> None:
    """Add the page at `/`, and what it needs below `/playground/`.

    Args:
        app: The application; call `rxws.setup` for it, too.
        links: Addresses that the page links, by their titles.
    """
    room = Room(app)
    visitors: set[Visitor] = set()
    leaving: set[asyncio.Task[None]] = set()

    async def wait_for_leaving(_: web.Application) -> None:
        await asyncio.gather(*leaving)

    @rxws.websocket(codec=rxws.codecs.text, max_message_size=16 << 10)
    def visit(conn: rxws.Connection[str, str]) -> Observable[Any] | rxws.rpc.Peer:
        if len(visitors) >= MAX_VISITORS:
            return rx.of(rxws.Close(1013, "too many visitors: try again later"))
        visitor = Visitor(room, dict(links or {}))
        visitors.add(visitor)

        def leave(_: rxws.Close) -> None:
            visitors.discard(visitor)
            task = asyncio.get_running_loop().create_task(visitor.leave())
            leaving.add(task)
            task.add_done_callback(leaving.discard)

        conn.closed.subscribe(leave)
        return rxws.rpc.Peer(conn, visitor.methods(), max_requests=32)

    for path in files("rxws.cli.playground").joinpath("static").iterdir():
        name = path.name
        where = "/" if name == "index.html" else f"/playground/{name}"
        app.router.add_get(where, _file(path.read_bytes(), name))
    app.router.add_get("/playground/ws", visit)
    app.on_cleanup.append(wait_for_leaving)


def _file(content: bytes, name: str) -> Any:
    kind = _TYPES[name.rpartition(".")[2]]

    async def respond(_: web.Request) -> web.Response:
        return web.Response(body=content, content_type=kind, charset="utf-8", headers=_HEADERS)

    return respond
