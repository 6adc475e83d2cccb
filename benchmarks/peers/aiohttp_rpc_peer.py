"""JSON-RPC written by hand on aiohttp: the loop that users write, with the checks of `rxws.rpc`."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import WSMsgType, web

from benchmarks.peers.aiohttp_peer import receive, serve_app
from benchmarks.peers.runner import Options, run_peer


def add(a: int, b: int) -> int:
    return a + b


METHODS = {"add": add}


def answer(text: str) -> str | None:
    try:
        parsed: Any = json.loads(text)
    except ValueError:
        return failure(None, -32700, "Parse error")
    if not isinstance(parsed, dict):
        return failure(None, -32600, "Invalid Request")
    request = cast(dict[str, Any], parsed)
    if request.get("jsonrpc") != "2.0":
        return failure(None, -32600, "Invalid Request")
    id_ = request.get("id")
    method = METHODS.get(request.get("method", ""))
    if method is None:
        return failure(id_, -32601, "Method not found")
    params: Any = request.get("params", [])
    named = type(params) is dict
    try:
        result = method(**params) if named else method(*params)  # pyright: ignore[reportUnknownArgumentType]
    except TypeError:
        return failure(id_, -32602, "Invalid params")
    except Exception:
        return failure(id_, -32603, "Internal error")
    if "id" not in request:
        return None
    return dump({"jsonrpc": "2.0", "id": id_, "result": result})


def failure(id_: Any, code: int, message: str) -> str:
    return dump({"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}})


dump = json.JSONEncoder(separators=(",", ":")).encode


@asynccontextmanager
async def serve(options: Options) -> AsyncGenerator[int]:
    async def rpc(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse(compress=options.compress)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT and (text := answer(message.data)) is not None:
                await ws.send_str(text)
        return ws

    app = web.Application()
    app.router.add_get("/", rpc)
    async with serve_app(app) as port:
        yield port


if __name__ == "__main__":
    run_peer(serve, receive, "aiohttp")
