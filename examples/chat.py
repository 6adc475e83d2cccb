"""A chat room is one plain Subject: it receives all messages and delivers them to all members.

Run it, then join twice: `websockets ws://127.0.0.1:8080/chat?name=ann`, and again as bob.
"""

from aiohttp import web
from reactivex import Observable, Subject

import rxws

room: Subject[str] = Subject()


@rxws.websocket(codec=rxws.codecs.text)
def chat(conn: rxws.Connection[str, str]) -> Observable[str]:
    name = conn.handshake.url.query.get("name", "somebody")
    # Forward on_next only: `subscribe(room)` would also forward the completion of `incoming`, and
    # the first member who leaves would end the room for all.
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
