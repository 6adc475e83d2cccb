"""Return a pipeline from a handler; rxws sends its values. This one answers in upper case.

Run it, then connect with `websockets ws://127.0.0.1:8080/shout` or with `client.py`.
"""

from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws


@rxws.websocket(codec=rxws.codecs.text)
def shout(conn: rxws.Connection[str, str]) -> Observable[str]:
    return conn.incoming.pipe(ops.map(str.upper))


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/shout", shout)])
    rxws.setup(app)  # closes all connections with 1001 "Going Away" at shutdown
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
