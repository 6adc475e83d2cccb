"""What a handler returns is what the peer gets: here its own words, in capitals.

Run it, then talk to it with `websockets ws://127.0.0.1:8080/shout` or with `client.py` beside it.
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
    rxws.setup(app)  # at shutdown everybody is told 1001 "Going Away"
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
