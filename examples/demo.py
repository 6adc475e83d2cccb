"""Serve the playground at `/`, and all server examples, with a page at `/examples` to try them.

Run it with `make demo` or `python examples/demo.py --port 9000`. Press Ctrl+C to stop it.
"""

import argparse
import errno
import logging
import os
import socket
import sys
from pathlib import Path

import auth
import chat
import chat_cluster
import echo
import price_feed
import shout
import ticker
import tokens
import typed_rpc
from aiohttp import web

import rxws
from rxws.cli.playground import add_playground

HERE = Path(__file__).parent
SOURCES = (
    "shout.py",
    "ticker.py",
    "price_feed.py",
    "chat.py",
    "chat_cluster.py",
    "tokens.py",
    "typed_rpc.py",
    "auth.py",
    "echo.py",
)
# The page is one file that opens WebSockets: forbid it to load anything else.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    "connect-src 'self' ws: wss:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(
        HERE / "demo.html",
        headers={"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-cache"},
    )


async def source(request: web.Request) -> web.FileResponse:
    name = request.match_info["name"]
    if name not in SOURCES:
        raise web.HTTPNotFound
    return web.FileResponse(
        HERE / name,
        headers={"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"},
    )


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes(
        [
            web.get("/examples", page),
            web.get("/source/{name}", source),
            web.get("/shout", shout.shout),
            web.get("/ticker", ticker.ticker),
            web.get("/prices", price_feed.prices),
            web.get("/chat", chat.chat),
            web.get("/tokens", tokens.tokens),
            web.get("/rpc", typed_rpc.rpc),
            web.get("/private", auth.private),
            web.get("/echo", echo.echo),
            web.get("/chat_cluster.html", chat_cluster.page),
        ]
    )
    chat_cluster.add_chat(app)
    add_playground(app, links={"Examples": "/examples"})
    rxws.setup(app)
    return app


def port_number(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65535:
        raise ValueError
    return port


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve the playground of rxws, and its examples.")
    parser.add_argument(
        "--port",
        type=port_number,
        default=os.environ.get("PORT") or "8765",
        help="port on 127.0.0.1, 0 for any free port (default: $PORT, else 8765)",
    )
    port: int = parser.parse_args().port
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    # Bind here: if the port is in use, run_app would print a traceback.
    try:
        sock = socket.create_server(("127.0.0.1", port), backlog=128)
    except OSError as error:
        in_use = error.errno == errno.EADDRINUSE
        other = port + 1 if 1024 <= port < 65535 else 8765
        why = "is already in use" if in_use else f"cannot be used: {error.strerror}"
        print(
            f"rxws demo: port {port} on 127.0.0.1 {why}.\n"
            f"Choose another port, or 0 for any free port: make demo PORT={other}\n"
            f"{'or: ':>45}python examples/demo.py --port {other}",
            file=sys.stderr,
        )
        return 1
    url = f"http://127.0.0.1:{sock.getsockname()[1]}/"

    def greet(_: str) -> None:
        print(f"rxws demo: {url}   (press Ctrl+C to stop)", flush=True)

    web.run_app(make_app(), sock=sock, print=greet, access_log=None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
