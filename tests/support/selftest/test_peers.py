"""The raw peers of these tests, held against two implementations that are not under test."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

import aiohttp
import pytest
import websockets
from aiohttp import WSMsgType, web
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

from support.fixtures import Dial, Serve
from support.peers.frames import Decoder, Frame, Op, close_body, frame
from support.peers.raw import RawServer


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65535, 65536, 70001])
@pytest.mark.parametrize("mask", [None, b"\x01\x02\x83\xff"])
def test_frames_survive_the_wire(length: int, mask: bytes | None) -> None:
    """What `frame` builds, `Decoder` reads back, however it is cut."""
    payload = bytes(index % 251 for index in range(length))
    data = frame(Op.BINARY, payload, rsv=4, mask=mask) + frame(Op.PING, b"x", mask=mask)
    for cut in (0, 1, 2, 5, len(data) // 2, len(data)):
        decoder = Decoder()
        found = decoder.feed(data[:cut]) + decoder.feed(data[cut:])
        masked = mask is not None
        expected = [Frame(2, payload, rsv=4, masked=masked), Frame(9, b"x", masked=masked)]
        assert found == expected
        assert not decoder.rest


async def echo(request: web.Request) -> web.WebSocketResponse:
    """An echo of aiohttp's own."""
    ws = web.WebSocketResponse(max_msg_size=1 << 22)
    await ws.prepare(request)
    async for message in ws:
        if message.type is WSMsgType.TEXT:
            await ws.send_str(message.data)
        else:
            await ws.send_bytes(message.data)
    return ws


async def test_a_client_talks_to_aiohttp(serve: Serve, raw_client: Dial) -> None:
    """A raw client upgrades, sends masked frames, fragments and compressed ones, and reads."""
    port = await serve(echo)
    offer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    client = await raw_client(port, headers={"Sec-WebSocket-Extensions": offer})
    assert "permessage-deflate" in client.head.headers["sec-websocket-extensions"]
    await client.text("plain")
    await client.deflated(Op.BINARY, b"squeezed" * 1000)
    await client.frame(Op.TEXT, b"in ", fin=False)
    await client.frame(Op.PING, b"between")
    await client.frame(Op.CONT, b"two")
    got = await client.messages(3)
    assert [one.opcode for one in got] == [Op.TEXT, Op.BINARY, Op.TEXT]
    assert Frame(Op.PONG, b"between") in client.frames
    await client.close(1000, "bye")
    assert (await client.closing()).code == 1000
    assert await client.until_ended() == "eof"


async def test_a_client_sees_a_reset_and_a_refusal(serve: Serve, raw_client: Dial) -> None:
    """A raw client tells a reset from EOF, and reads the status of a refusal."""

    async def reset(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        assert request.transport is not None
        sock = request.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
        return ws

    port = await serve(reset)
    client = await raw_client(port)
    assert await client.until_ended() == "reset"
    refused = await raw_client(port, headers={"Upgrade": None})
    assert refused.head.status == 400


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_client_leaves_without_a_word(serve: Serve, raw_client: Dial, how: str) -> None:
    """FIN and RST both reach an aiohttp server as a lost connection."""
    seen: list[object] = []
    done = asyncio.Event()

    async def watch(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        message = await ws.receive()
        seen.extend([message.type, ws.close_code])
        done.set()
        return ws

    client = await raw_client(await serve(watch))
    if how == "fin":
        client.fin()
    else:
        await client.rst()
    async with asyncio.timeout(10):
        await done.wait()
    assert seen == [WSMsgType.CLOSED, 1006]


async def test_a_server_talks_to_aiohttp() -> None:
    """A raw server upgrades an aiohttp client, whose frames it reads, and closes without a code."""
    async with RawServer() as server, aiohttp.ClientSession() as session:
        accepting = asyncio.create_task(server.accept())
        async with session.ws_connect(server.url, autoclose=False) as ws:
            peer = await accepting
            await ws.send_str("up")
            assert await peer.messages(1) == [Frame(Op.TEXT, b"up", masked=True)]
            await peer.text("down")
            assert await ws.receive_str() == "down"
            await peer.close()
            assert (await ws.receive()).data == 0
            peer.fin()
            await ws.close()
            assert peer.closes


async def test_a_server_talks_to_websockets() -> None:
    """A raw server and the `websockets` client agree on messages and close codes."""
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept())
        async with websockets_connect(server.url, compression=None) as ws:
            peer = await accepting
            await peer.frame(Op.TEXT, b"a", fin=False)
            await peer.frame(Op.CONT, b"b")
            assert await ws.recv() == "ab"
            await asyncio.gather(ws.close(4001, "why"), peer.answer_close())
        assert peer.closes == [Frame(Op.CLOSE, close_body(4001, "why"), masked=True)]


async def test_a_client_talks_to_websockets(raw_client: Dial) -> None:
    """A `websockets` server answers a violation of a raw client with 1002."""

    async def swallow(ws: ServerConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            await ws.recv()

    async with websockets_serve(swallow, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        client = await raw_client(port)
        await client.frame(0x3, b"no such opcode")
        assert (await client.answer_close()).code == 1002


async def test_a_server_that_says_garbage() -> None:
    """What a raw server replies instead of the upgrade goes out as it is."""
    async with RawServer() as server, aiohttp.ClientSession() as session:
        accepting = asyncio.create_task(server.accept(reply=b"garbage\r\n\r\n"))
        with pytest.raises(aiohttp.ClientError):
            await session.ws_connect(server.url)
        await accepting
