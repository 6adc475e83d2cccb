"""rxws with vscode-jsonrpc as the peer, as a client and as a server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

import rxws
from rxws.rpc import Context, Methods, ResponseError
from support.peers.node_peer import node
from support.peers.raw import PATIENCE
from support.subscriber import Subscriber


class Served:
    """The methods that the client in client.js calls."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.methods = Methods()
        for function in (self.add, self.refuse, self.ask_back, self.count, self.wait, self.greet):
            self.methods.add(function)

    def add(self, a: int, b: int) -> int:
        return a + b

    def refuse(self) -> None:
        raise ResponseError(7, "no such user", {"id": 3})

    async def ask_back(self, number: int, context: Context) -> Any:
        return await context.caller.call("twice", number)

    async def count(self, to: int) -> AsyncIterator[int]:
        for number in range(to):
            yield number

    async def wait(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.log.append("cancelled")
            raise

    def greet(self, name: str, context: Context) -> None:
        self.log.append(f"greeted by {name}")
        context.caller.notify("hello", "back", 1)


@pytest.mark.promise("rpc-peers")
async def test_vscode_jsonrpc_as_a_client(node_scripts: Path) -> None:
    """vscode-jsonrpc as a client: calls, errors, cancellation, progress and calls back."""
    served = Served()
    async with rxws.serve(rxws.rpc.serve(served.methods)) as server:
        client = await asyncio.create_subprocess_exec(
            node(),
            str(node_scripts / "client.js"),
            server.url,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(PATIENCE):
            out, err = await client.communicate()
    assert client.returncode == 0, err.decode()
    got = json.loads(out)
    assert (got["position"], got["name"], got["callback"]) == (3, 7, 42)
    assert got["unknown"] == {"code": -32601, "message": "Method not found"}
    assert got["wrong"]["code"] == -32602
    assert got["refused"] == {"code": 7, "message": "no such user", "data": {"id": 3}}
    assert got["array"] == [0, 1, 2]
    assert (got["streamed"], got["items"]) == (None, [0, 1, 2, 3])
    assert got["cancelled"]["code"] == -32800
    assert got["notified"] == [["back", 1]]
    assert served.log == ["cancelled", "greeted by node"]


@asynccontextmanager
async def node_server(scripts: Path) -> AsyncIterator[tuple[str, asyncio.StreamReader]]:
    """Run server.js; yield its URL and its standard output."""
    server = await asyncio.create_subprocess_exec(
        node(),
        str(scripts / "server.js"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            port = int(await server.stdout.readline())
        yield f"ws://127.0.0.1:{port}/", server.stdout
    finally:
        server.stdin.close()
        async with asyncio.timeout(PATIENCE):
            await server.wait()


@pytest.mark.promise("rpc-peers")
async def test_vscode_jsonrpc_as_a_server(node_scripts: Path) -> None:
    """vscode-jsonrpc as a server: calls, errors, cancellation, progress and calls back."""
    methods = Methods()
    methods.add(lambda number: 2 * number, name="twice")
    async with node_server(node_scripts) as (url, output), rxws.connect(url) as conn:
        caller = rxws.rpc.Peer(conn, methods).caller
        hello = Subscriber(caller.notifications("hello"))
        assert await caller.call("add", 1, 2) == 3
        assert await caller.call("named", a=5, b=3) == 2
        with pytest.raises(ResponseError) as caught:
            await caller.call("fail")
        assert (caught.value.code, caught.value.data) == (7, {"id": 3})
        with pytest.raises(ResponseError) as unknown:
            await caller.call("nope")
        assert unknown.value.code == -32601
        assert await caller.call("ask_back", 4) == 8
        assert [item async for item in caller.stream("count", to=5)] == [0, 1, 2, 3, 4]

        waiting = asyncio.create_task(caller.call("wait"))
        await asyncio.sleep(0)  # the task sends its request
        await caller.call("add", 0, 0)
        waiting.cancel()
        async with asyncio.timeout(PATIENCE):
            assert await output.readline() == b"cancelled\n"
        caller.notify("greet", "rxws")
        await hello.until(lambda: hello.values)
        assert hello.values == [["rxws", 1]]
