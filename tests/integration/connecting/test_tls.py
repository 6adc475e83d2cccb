"""Connections over `wss://` open and close as they do without TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import ClientSession
from reactivex import operators as ops

import rxws
from support.peers.tls import PEM


def client_context() -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(PEM))


@asynccontextmanager
async def secure_server() -> AsyncIterator[tuple[rxws.Server, list[rxws.Connection]]]:
    """Serve an echo over TLS; yield the server and its connections."""
    connections: list[rxws.Connection] = []

    def echo(conn: rxws.Connection) -> None:
        connections.append(conn)
        conn.incoming.subscribe(conn.outgoing)

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    async with rxws.serve(echo, ssl_context=context) as server:
        yield server, connections


@pytest.mark.promise("tls")
async def test_echo_and_a_close_of_the_client() -> None:
    """Messages of all sizes return over TLS, and both ends report the same close."""
    sent: list[str | bytes] = ["a", "b" * 100_000, b"c" * 700_000]
    async with secure_server() as (server, connections):
        async with rxws.connect(server.url, ssl=client_context(), heartbeat=0.5) as conn:
            for message in sent:
                conn.outgoing.on_next(message)
            got = await conn.incoming.pipe(ops.take(len(sent)), ops.to_list())
            conn.outgoing.on_next(rxws.Close(4001, "enough"))
            assert await conn.closed == rxws.Close(4001, "enough")
        assert got == sent
        assert await connections[0].closed == rxws.Close(4001, "enough")


async def test_shutdown_of_the_server() -> None:
    """The end of the server closes a TLS client with 1001 in time."""
    async with secure_server() as (server, _):
        conn = await rxws.connect(server.url, ssl=client_context())
        async with asyncio.timeout(10):
            await server.aclose()
            close = await conn.closed
        assert (close.code, close.by) == (1001, "peer")


async def test_a_1009_reaches_a_client_that_still_sends() -> None:
    """A TLS client that is still sending receives our 1009."""
    async with secure_server() as (server, connections):
        async with rxws.connect(server.url, ssl=client_context(), max_buffer=1 << 26) as conn:
            conn.outgoing.on_next("x" * ((1 << 20) + 1))
            for _ in range(20):
                conn.outgoing.on_next("y" * 50_000)
            close = await conn.closed
        assert (close.code, close.by) == (1009, "peer")
        assert (await connections[0].closed).by == "local"


async def test_an_untrusted_server() -> None:
    """An untrusted certificate is a `ConnectError` with its cause."""
    async with secure_server() as (server, _):
        with pytest.raises(rxws.ConnectError, match="cannot connect") as caught:
            await rxws.connect(server.url)
        assert isinstance(caught.value.__cause__, Exception)


async def test_the_users_session_stays_open() -> None:
    """A `ClientSession` of the user is used and stays open for the next connection."""
    async with secure_server() as (server, _), ClientSession() as session:
        for _ in range(2):
            async with rxws.connect(server.url, session=session, ssl=client_context()) as conn:
                conn.outgoing.on_next("again")
                assert await conn.incoming.pipe(ops.first()) == "again"
            assert not session.closed
