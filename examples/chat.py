"""A chat with rooms: each room is a plain Subject, which delivers messages to all its members.

Run it, then connect with `websockets ws://127.0.0.1:8080/chat?name=ann`, and again as bob. Send
`{"join": "kitchen"}`, `{"room": "kitchen", "text": "hello"}` and `{"leave": "kitchen"}`.

For rooms with history and presence, or in several processes, use a hub: see
`docs/howto/many-connections.md`.
"""

from collections import defaultdict

import reactivex as rx
from aiohttp import web
from reactivex import Observable, Subject
from reactivex import operators as ops

import rxws

MAX_ROOMS = 8  # that one connection may join
rooms: defaultdict[str, Subject[object]] = defaultdict(Subject)


@rxws.websocket(codec=rxws.codecs.json)
def chat(conn: rxws.Connection[object, object]) -> Observable[object]:
    name = conn.handshake.url.query.get("name", "somebody")
    joined: set[str] = set()

    def join(room: str) -> Observable[object]:
        """Emit the messages of a room, until the member leaves it or disconnects."""
        hello = {"room": room, "joined": name}
        goodbye = conn.incoming.pipe(ops.filter(lambda message: message == {"leave": room}))
        joined.add(room)
        rooms[room].on_next(hello)
        return rooms[room].pipe(
            ops.start_with(hello), ops.take_until(goodbye), ops.finally_action(lambda: leave(room))
        )

    def leave(room: str) -> None:
        joined.remove(room)
        rooms[room].on_next({"room": room, "left": name})
        if not rooms[room].observers:
            del rooms[room]

    def answer(message: object) -> Observable[object]:
        match message:
            case {"join": str(room)} if room not in joined and len(joined) < MAX_ROOMS:
                return join(room)
            case {"leave": str(room)} if room in joined:
                return rx.empty()  # `goodbye` emits it, too
            case {"room": str(room), "text": str() | None as text} if room in joined:
                # Without a text yet, the member is typing.
                rooms[room].on_next({"room": room, "name": name, "text": text})
                return rx.empty()
            case _:
                return rx.of({"error": f"cannot do that: {message!r:.100}"})

    # Without this subscriber, a message that is not JSON would close the connection with 1007.
    conn.errors.subscribe(lambda error: conn.outgoing.on_next({"error": str(error)}))
    return conn.incoming.pipe(ops.flat_map(answer))


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/chat", chat)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
