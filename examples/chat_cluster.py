"""A chat in several processes: a hub carries the messages of each room, and shows who is there.

Run `redis-server`, then `python chat_cluster.py --redis redis://localhost`, and in another terminal
the same with `--port 8081`. Open http://127.0.0.1:8080/ and http://127.0.0.1:8081/ in a browser, or
connect with `websockets "ws://127.0.0.1:8080/room?name=ann"` and send `{"text": "hello"}`.
"""

import argparse
from pathlib import Path

import msgspec
import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws

PAGE = Path(__file__).with_suffix(".html")


class Draft(msgspec.Struct):
    text: str


class Line(Draft):
    name: str


def add_chat(app: web.Application, backplane: rxws.hub.Backplane | None = None) -> None:
    """Add `/room`, and `/hub` with the protocol of hubs; both lead to the same rooms."""
    hub = rxws.Hub(
        codec=rxws.codecs.typed(Line),
        backplane=backplane,
        topics={"room:*": rxws.Keep(100, seconds=600)},
    )
    hub.setup(app)

    @rxws.websocket(codec=rxws.codecs.typed(Draft), max_message_size=4096)
    def room(conn: rxws.Connection[Draft, object]) -> Observable[object]:
        name = conn.handshake.url.query.get("name") or "somebody"
        topic = hub.topic("room:" + conn.handshake.url.query.get("room", "kitchen"))

        def sign(draft: Draft) -> Line:
            return Line(draft.text, name)

        conn.incoming.pipe(ops.map(sign)).subscribe(topic)
        errors = conn.errors.pipe(ops.map(lambda error: {"error": str(error)}))
        return rx.merge(
            topic.rewind(20),  # the last 20 messages, then live ones
            topic.presence.pipe(ops.map(show)),
            topic.joined(name),  # present until the connection ends
            errors,
        )

    def user(request: web.Request, token: str) -> str | None:
        return token or None  # here, the token is the name; a real program would check it

    def allow(user: str, topic: str, action: str) -> bool:
        return topic.startswith("room:")

    served = hub.serve(user=user, allow=allow, max_message_size=4096)
    app.add_routes([web.get("/room", room), web.get("/hub", served)])


def show(names: frozenset[str]) -> dict[str, list[str]]:
    return {"here": sorted(names)}


async def page(request: web.Request) -> web.FileResponse:
    return web.FileResponse(PAGE)


def make_app(backplane: rxws.hub.Backplane | None = None) -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/", page)])
    add_chat(app, backplane)
    rxws.setup(app)
    return app


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve a chat that several processes share.")
    parser.add_argument("--redis", metavar="URL", help="without it, the chat is in this process")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    arguments = parser.parse_args()
    try:
        redis = rxws.hub.RedisBackplane(arguments.redis) if arguments.redis else None
        web.run_app(make_app(redis), host=arguments.host, port=arguments.port)
    except (ValueError, rxws.hub.BackplaneError) as error:  # the URL is wrong
        raise SystemExit(str(error)) from None
