"""Answer requests by JSON-RPC, one of them with a stream; then call them as a client.

Run `python rpc.py` to serve ws://127.0.0.1:8080/jsonrpc, and `python rpc.py call` to call.
"""

import asyncio
import sys
from collections.abc import AsyncIterator

from aiohttp import web

import rxws

methods = rxws.rpc.Methods()


@methods.add
def add(a: float, b: float) -> float:
    return a + b


@methods.add
async def countdown(start: int) -> AsyncIterator[int]:
    for number in range(start, 0, -1):
        yield number
        await asyncio.sleep(0.1)


async def call(url: str = "ws://127.0.0.1:8080/jsonrpc") -> None:
    async with rxws.connect(url) as conn:
        caller = rxws.rpc.Caller(conn).with_options(timeout=5)
        print("1 + 2 =", await caller.call("add", 1, 2))
        async for number in caller.stream("countdown", start=5):
            print(number)
            if number == 3:
                break  # cancels the stream
        try:
            await caller.call("add", 1, "two")
        except rxws.rpc.ResponseError as error:
            print(error)


rpc = rxws.websocket(rxws.rpc.serve(methods))


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/jsonrpc", rpc)])
    rxws.setup(app)
    return app


if __name__ == "__main__":
    if sys.argv[1:] == ["call"]:
        asyncio.run(call())
    else:
        web.run_app(make_app(), host="127.0.0.1", port=8080)
