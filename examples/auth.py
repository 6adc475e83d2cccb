"""Two ways to reject a client: 401 before the upgrade, or close code 4003 from the pipeline.

Run it, then try `websockets "ws://127.0.0.1:8080/private?token=sesame"` with and without the token.
"""

from secrets import compare_digest

from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws


async def private(request: web.Request) -> web.StreamResponse:
    if not compare_digest(request.query.get("token", "").encode(), b"sesame"):
        raise web.HTTPUnauthorized(text="the token is missing or wrong")
    return await rxws.upgrade(request, vault, codec=rxws.codecs.text)


def vault(conn: rxws.Connection[str, str]) -> Observable[str]:
    return conn.incoming.pipe(ops.map(execute))


def execute(command: str) -> str:
    if command.startswith("open"):
        raise rxws.ConnectionClosed(rxws.Close(4003, "you may look, not open"))
    return f"done: {command}"


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/private", private)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
