"""Subscribe `outgoing` to `incoming` instead of returning a pipeline: an echo server.

Run it, then connect with `websockets ws://127.0.0.1:8080/echo`.
"""

from aiohttp import web

import rxws


@rxws.websocket
def echo(conn: rxws.Connection) -> None:
    conn.incoming.subscribe(conn.outgoing)  # returning None does not close the connection


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/echo", echo)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
