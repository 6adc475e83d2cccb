"""A server of rxws with the client of the package jsonrpc-websocket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import rxws
from rxws.rpc import Context, Methods
from support.peers.raw import PATIENCE


@pytest.mark.promise("rpc-peers")
async def test_jsonrpc_websocket_as_a_client(jsonrpc_websocket: Any) -> None:
    """A Python client: arguments by position and by name, errors, notifications, calls back."""
    greeted: list[str] = []
    methods = Methods()

    @methods.add
    async def divide(a: float, b: float) -> float:
        return a / b

    @methods.add
    async def greet(name: str, context: Context) -> None:
        greeted.append(f"{name}, {await context.caller.call('town')}")

    async with rxws.serve(rxws.rpc.serve(methods)) as server:
        client = jsonrpc_websocket.Server(server.url)
        client.town = lambda: "Rome"
        reading = await client.ws_connect()
        try:
            assert await client.divide(6, 3) == 2
            assert await client.divide(a=9, b=2) == 4.5
            with pytest.raises(Exception, match="Internal error"):
                await client.divide(1, 0)
            with pytest.raises(Exception, match="Invalid params"):
                await client.divide("x", 1)
            with pytest.raises(Exception, match="Method not found"):
                await client.multiply(1, 2)
            await client.greet("Ada", _notification=True)
            async with asyncio.timeout(PATIENCE):
                while not greeted:
                    await client.divide(1, 1)
            assert greeted == ["Ada, Rome"]
        finally:
            await client.close()
            await reading
