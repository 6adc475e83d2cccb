"""Stream the tokens of a language model: several answers over one socket, each cancellable.

Run it, then connect with `websockets ws://127.0.0.1:8080/tokens`. Send
`{"id": 1, "prompt": "rain"}` and `{"id": 2, "prompt": "snow"}`, and soon after it `{"cancel": 1}`.
"""

import asyncio
from collections.abc import AsyncGenerator

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws

Message = dict[str, object]
MAX_RUNNING = 4  # answers of one connection
PAUSE = 0.15  # seconds before each token


async def model(prompt: str) -> AsyncGenerator[str]:
    """Yield the tokens of an answer, as the client of a language model does."""
    if not prompt:
        raise ValueError("the prompt is empty")
    text = f"You ask about {prompt}. It depends on the weather, and the weather on much else: "
    for token in f"{text}on the wind, on the sea, on the season, and a little on luck.".split():
        await asyncio.sleep(PAUSE)
        yield f"{token} "


@rxws.websocket(codec=rxws.codecs.json)
def tokens(conn: rxws.Connection[object, Message]) -> Observable[Message]:
    running: set[int] = set()

    def start(number: int, prompt: str) -> Observable[Message]:
        """Emit an answer, until it is complete or the client cancels it."""

        def part(**content: object) -> Message:
            return {"id": number, **content}

        cancelled = conn.incoming.pipe(ops.filter(lambda message: message == {"cancel": number}))
        running.add(number)
        return rxws.from_async_iterable(lambda: model(prompt)).pipe(
            ops.map(lambda token: part(token=token)),
            ops.take_until(cancelled),  # stops the model
            ops.concat(rx.of(part(done=True))),
            # Without this, an error of the model would close the connection with 1011.
            ops.catch(lambda error, _: rx.of(part(error=str(error)))),
            ops.finally_action(lambda: running.remove(number)),
        )

    def respond(message: object) -> Observable[Message]:
        match message:
            case {"id": int(number), "prompt": str(prompt)} if number not in running:
                if len(running) == MAX_RUNNING:
                    return rx.of({"id": number, "error": "too many answers at once"})
                return start(number, prompt)
            case {"cancel": int()}:
                return rx.empty()  # `cancelled` emits it, too, if the answer is still running
            case _:
                return rx.of({"error": f"cannot do that: {message!r:.100}"})

    # Without this subscriber, a message that is not JSON would close the connection with 1007.
    conn.errors.subscribe(lambda error: conn.outgoing.on_next({"error": str(error)}))
    return conn.incoming.pipe(ops.flat_map(respond))


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/tokens", tokens)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    web.run_app(make_app(), host="127.0.0.1", port=8080)
