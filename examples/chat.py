"""One plain Subject is the room: everybody's messages go into it, and it is what everybody gets.

Run it, then join twice: `websockets ws://127.0.0.1:8080/chat?name=ann`, and once more as bob.
"""

from aiohttp import web
from reactivex import Observable, Subject

import rxws

room: Subject[str] = Subject()


@rxws.websocket(codec=rxws.codecs.text)
def chat(conn: rxws.Connection[str, str]) -> Observable[str]:
    name = conn.handshake.url.query.get("name", "somebody")
    # Only on_next is passed on: `subscribe(room)` would hand over the end of `incoming` as well, so
    # that the first one to leave would end the room for the rest.
    conn.incoming.subscribe(lambda text: room.on_next(f"{name}: {text}"))
    conn.closed.subscribe(lambda close: room.on_next(f"* {name} left ({close.code})"))
    return room


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/chat", chat)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
