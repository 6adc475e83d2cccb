"""Validate messages: `conn.errors` emits an error for an invalid Request, which is sent back.

Run it, then send `{"id": 1, "sum": [1, 2]}` with `websockets ws://127.0.0.1:8080/rpc`.
"""

import msgspec
import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws


class Request(msgspec.Struct):
    id: int
    sum: list[float]


def answer(request: Request) -> dict[str, object]:
    return {"id": request.id, "result": sum(request.sum)}


@rxws.websocket(codec=rxws.codecs.typed(Request))
def rpc(conn: rxws.Connection[Request, object]) -> Observable[dict[str, object]]:
    errors: Observable[dict[str, object]] = conn.errors.pipe(ops.map(lambda e: {"error": str(e)}))
    return rx.merge(conn.incoming.pipe(ops.map(answer)), errors)


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/rpc", rpc)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
