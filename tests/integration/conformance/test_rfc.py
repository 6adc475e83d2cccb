"""RFC 6455 and RFC 7692, one case per rule, tried by raw peers; `rfc_cases` has the tables."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, TypeVar

import aiohttp
import pytest
from aiohttp import web

import rxws
from integration.conformance.rfc_cases import MISSED, NONCE, REFUSED, TAKEN
from integration.conformance.rfc_cases.framing import FRAMES, Frames
from integration.conformance.rfc_cases.handshake_at_client import ANSWERS, Answer
from integration.conformance.rfc_cases.handshake_at_server import REQUESTS, Request
from integration.conformance.rfc_cases.page import PAGE, fill_tables
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, open_links
from support.peers.frames import Op
from support.peers.handshake import accept_key
from support.peers.raw import PATIENCE, Peer, RawServer

SUBPROTOCOLS = ("chat", "superchat")

C = TypeVar("C")

OUTDATED_VERDICT = "aiohttp has changed: change the verdict of this case in rfc_cases/"

# The verdicts hold since aiohttp 3.14.5; older versions refuse more of the frames.
IS_OLDER = tuple(map(int, re.findall(r"\d+", aiohttp.__version__)[:3])) < (3, 14, 5)


async def send_request(port: int, case: Request) -> Peer:
    """Send the request of a case; return the peer with the response's head."""
    sock = socket.socket()
    peer = Peer(sock, masks=True)
    sock.setblocking(False)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        await peer.send(case.written(port))
        peer.head = await peer.read_head()
    except BaseException:
        sock.close()
        raise
    return peer


async def try_all(cases: Iterable[C], check: Callable[[C], Awaitable[None]]) -> None:
    """Try every case in one test; a test per case would take minutes."""
    failed: list[Exception] = []
    for case in cases:
        try:
            await check(case)
        except Exception as exc:
            exc.add_note(f"case: {case}")
            failed.append(exc)
    if failed:
        raise ExceptionGroup(f"{len(failed)} cases", failed)


@pytest.mark.promise("handshake")
async def test_requests_at_a_server(serve: Serve) -> None:
    """A server accepts the upgrade requests that it must accept and refuses all others."""
    ran: list[AnyConnection] = []

    async def route(request: web.Request) -> web.StreamResponse:
        return await rxws.upgrade(request, ran.append, protocols=SUBPROTOCOLS)

    app = web.Application()
    app.router.add_route("*", "/", route)
    rxws.setup(app)
    port = await serve(app)
    await try_all(REQUESTS, lambda case: check_request(port, case, ran))


async def check_request(port: int, case: Request, ran: list[AnyConnection]) -> None:
    ran.clear()
    peer = await send_request(port, case)
    try:
        answer = peer.head
        protocol = answer.headers.get("sec-websocket-protocol")
        extensions = answer.headers.get("sec-websocket-extensions")
        assert (answer.status, protocol, extensions) == (
            case.status,
            case.protocol,
            case.extensions,
        ), OUTDATED_VERDICT if case.verdict in {TAKEN, MISSED} else answer
        if case.status == 101:
            assert answer.headers["sec-websocket-accept"] == accept_key(NONCE)
            peer.start_reading()
            await peer.close(1000)
            assert (await peer.closing()).code == 1000
            assert len(ran) == 1
        else:
            assert not ran
    finally:
        await peer.rst()


@pytest.mark.promise("handshake")
@pytest.mark.usefixtures("read_path")
async def test_responses_at_a_client() -> None:
    """A client accepts the handshake responses that it must accept and fails on all others."""
    await try_all(ANSWERS, check_answer)


async def check_answer(case: Answer) -> None:
    options: dict[str, Any] = {"protocols": SUBPROTOCOLS} if case.offers else {"compress": False}

    async def answering(server: RawServer) -> Peer:
        peer = await server.accept_tcp()
        peer.head = await peer.read_head()
        await peer.send(case.written(accept_key(peer.head.headers["sec-websocket-key"])))
        peer.start_reading()
        return peer

    async with RawServer() as server, asyncio.timeout(PATIENCE):
        task = asyncio.create_task(answering(server))
        if case.verdict in {REFUSED, MISSED}:
            with pytest.raises(rxws.HandshakeError, match=server.url):
                await rxws.connect(server.url, **options)
            await (await task).until_ended()
            return
        conn = await rxws.connect(server.url, **options)
        peer = await task
        assert conn.handshake.subprotocol == case.protocol
        conn.incoming.subscribe()
        conn.outgoing.on_completed()
        await peer.answer_close()
        await conn.closed


@pytest.mark.promise("violation")
@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.usefixtures("read_path")
async def test_frames_at_both_ends(serve: Serve, end: str) -> None:
    """Valid frames are delivered; invalid frames close the connection with their code."""
    cases = [
        case
        for case in FRAMES
        if case.at in {None, end} and not (IS_OLDER and case.verdict == TAKEN)
    ]
    await try_all(cases, lambda case: check_frames(serve, end, case))


async def check_frames(serve: Serve, end: str, case: Frames) -> None:
    async with open_links(end, serve) as link:
        one = await link(deflate=case.deflate)
        await one.peer.send(case.send(one.peer))
        if case.code is None:
            await one.peer.text("and still open")
            await one.peer.close(1000)
        close = await one.seen.end()
        expected = [*case.values, "and still open"] if case.code is None else list(case.values)
        outdated = OUTDATED_VERDICT if case.verdict == TAKEN else None
        assert one.seen.values == expected, outdated
        assert close.code == (case.code or 1000), outdated
        assert close.by == ("local" if case.verdict == REFUSED else "peer")
        answered = (await one.peer.closing()).code
        assert answered == (None if close.code == 1005 else close.code)
        assert [f.opcode for f in one.peer.frames].count(Op.PONG) == case.pongs


def test_the_page_is_current() -> None:
    """The tables in the documentation match the cases."""
    text = PAGE.read_text("utf-8")
    assert text == fill_tables(text), "cd tests && python -m integration.conformance.rfc_cases.page"


def test_every_case_has_a_unique_name() -> None:
    """Each row of a table describes one case."""
    for cases in (REQUESTS, ANSWERS, [(case.what, case.at) for case in FRAMES]):
        names = [case if isinstance(case, tuple) else case.what for case in cases]
        assert len(set(names)) == len(names)
