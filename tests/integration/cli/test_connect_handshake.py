"""The handshake of `rxws connect`: headers, subprotocols, authentication, TLS and proxies."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

import rxws
from support.fixtures import Serve
from support.peers.connect_proxy import connect_proxy
from support.peers.raw import RawServer
from support.peers.tls import PEM
from support.processes.command_line import environment, run_rxws


async def show_request(request: web.Request) -> web.WebSocketResponse:
    """Send the headers of the request, and close."""
    ws = web.WebSocketResponse(protocols=["chat"])
    await ws.prepare(request)
    await ws.send_str("\n".join(f"{name}: {value}" for name, value in request.headers.items()))
    await ws.close()
    return ws


async def test_headers(serve: Serve) -> None:
    """Headers, subprotocols, authentication and the origin are those of the options."""
    url = f"127.0.0.1:{await serve(show_request)}/"
    result = await run_rxws(
        *("connect", url, "-v", "-H", "X-A: 1", "-H", "X-A: 2", "--auth", "ann:secret"),
        *("-s", "other", "-s", "chat", "--origin", "https://example.com", "--no-compress"),
    )
    lines = result.out.split("\n")
    assert result.code == 0
    assert [line for line in lines if line.startswith("X-A")] == ["X-A: 1", "X-A: 2"]
    assert "Authorization: Basic YW5uOnNlY3JldA==" in lines
    assert "Sec-WebSocket-Protocol: other,chat" in lines
    assert "Origin: https://example.com" in lines
    assert not any(line.startswith("Sec-WebSocket-Extensions") for line in lines)
    assert result.err.startswith(f"connected to ws://{url}, subprotocol chat\n")
    assert "secret" not in result.err


@asynccontextmanager
async def secure_echo(ask_for_certificate: bool = False) -> AsyncGenerator[str]:
    """Serve an echo over TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    if ask_for_certificate:
        context.load_verify_locations(PEM)
        context.verify_mode = ssl.CERT_REQUIRED
    async with rxws.serve(lambda conn: conn.incoming, ssl_context=context) as server:
        yield str(server.url).replace("127.0.0.1", "localhost")


async def test_tls() -> None:
    """A certificate is checked with `--ca`, or not at all with `--insecure`."""
    async with secure_echo() as url:
        refused = await run_rxws("connect", url, "-n", "1", stdin="hi\n")
        assert refused.code == 2
        assert "certificate verify failed" in refused.err
        assert refused.err.endswith(
            "\nUse --ca FILE to trust the certificate, or -k to accept any.\n"
        )
        for options in (["--ca", str(PEM)], ["--insecure"], ["-k"]):
            assert await run_rxws("connect", url, "-n1", *options, stdin="hi\n") == (0, "hi\n", "")


async def test_the_wrong_scheme(serve: Serve) -> None:
    """The message says which scheme the server may have."""
    async with secure_echo() as url:
        result = await run_rxws("connect", url.replace("wss:", "ws:"), "-m", "hi")
        assert result.code == 2
        assert result.err.endswith("\nIf the server uses TLS, its address begins with wss://.\n")
    result = await run_rxws("connect", f"wss://127.0.0.1:{await serve(show_request)}", "-m", "hi")
    assert result.code == 2
    assert result.err.endswith("\nA server without TLS has an address that begins with ws://.\n")


async def test_a_client_certificate() -> None:
    """`--cert` is presented to a server that asks for it."""
    async with secure_echo(ask_for_certificate=True) as url:
        options = ["--ca", str(PEM), "--cert", str(PEM), "--key", str(PEM)]
        result = await run_rxws("connect", url, "-n", "1", *options, stdin="hi\n")
        assert result == (0, "hi\n", "")
        assert (await run_rxws("connect", url, "-n", "1", "-k", stdin="hi\n")).code in (1, 2)


async def test_a_proxy() -> None:
    """`--proxy` tunnels through an HTTP proxy, with the user and the password of its URL."""
    async with secure_echo() as url, connect_proxy() as (address, heads):
        options = ["--ca", str(PEM), "--proxy", f"http://ann:secret@{address}"]
        result = await run_rxws("connect", url, "-n", "1", *options, stdin="hi\n")
        assert result == (0, "hi\n", "")
        [head] = heads
        assert head.startswith(b"CONNECT localhost:")
        assert b"Proxy-Authorization: Basic YW5uOnNlY3JldA==" in head


async def test_the_proxy_of_the_environment() -> None:
    """`HTTPS_PROXY` is used for wss://, as by other tools."""
    async with secure_echo() as url, connect_proxy() as (address, heads):
        arguments = ("connect", url, "-n", "1", "--ca", str(PEM))
        variables = environment(HTTPS_PROXY=f"http://{address}")
        result = await run_rxws(*arguments, stdin="hi\n", env=variables)
        assert result == (0, "hi\n", "")
        assert [head.partition(b":")[0] for head in heads] == [b"CONNECT localhost"]


@pytest.mark.parametrize(("limit", "code"), [("5", 0), ("4", 1)])
async def test_a_message_that_is_too_large(serve: Serve, limit: str, code: int) -> None:
    """`--max-size` closes with 1009 after a larger message."""
    url = f"ws://127.0.0.1:{await serve(rxws.websocket(lambda conn: conn.incoming))}/"
    result = await run_rxws("connect", url, "-n", "1", "--max-size", limit, stdin="12345\n")
    assert result.code == code
    assert ("closed with 1009 (message too big)" in result.err) == bool(code)


async def test_a_heartbeat() -> None:
    """A server that does not answer pings is lost after 1.5 times `--heartbeat`."""
    async with RawServer() as server:
        running = asyncio.create_task(run_rxws("connect", server.url, "--heartbeat", ".2", "-winf"))
        await server.accept()
        result = await running
    assert result == (1, "", "Error: closed with 1006 (abnormal closure) by the network\n")
