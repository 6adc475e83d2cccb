"""RFC 6455 and RFC 7692, case by case, by raw peers; `rfc` has the cases and the verdicts."""

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
from integration.conformance.rfc_cases.page import PAGE, filled
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, opened
from support.peers.fake_tcp import take_path
from support.peers.frames import Op
from support.peers.handshake import accept_key
from support.peers.raw import PATIENCE, Peer, RawServer

SPOKEN = ("chat", "superchat")
PATHS = ["push", "pull"]

C = TypeVar("C")

MENDED = "aiohttp has changed: give this case of rfc_cases/ another verdict"

# The verdicts are of the aiohttp that was the newest; 3.14.4 refuses more of the frames.
IS_OLDER = tuple(map(int, re.findall(r"\d+", aiohttp.__version__)[:3])) < (3, 14, 5)


async def asked(port: int, case: Request) -> Peer:
    """A peer that has sent the request and has the answer's head."""
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
    """Try every case, one after the other; a test of its own for each would take minutes."""
    failed: list[Exception] = []
    for case in cases:
        try:
            await check(case)
        except Exception as exc:
            exc.add_note(f"the case: {case}")
            failed.append(exc)
    if failed:
        raise ExceptionGroup(f"{len(failed)} cases", failed)


@pytest.mark.promise("handshake")
async def test_requests(serve: Serve) -> None:
    """A server takes the upgrade requests that it has to take, and refuses those that it must."""
    ran: list[AnyConnection] = []

    async def route(request: web.Request) -> web.StreamResponse:
        return await rxws.upgrade(request, ran.append, protocols=SPOKEN)

    app = web.Application()
    app.router.add_route("*", "/", route)
    rxws.setup(app)
    port = await serve(app)
    await try_all(REQUESTS, lambda case: check_request(port, case, ran))


async def check_request(port: int, case: Request, ran: list[AnyConnection]) -> None:
    ran.clear()
    peer = await asked(port, case)
    try:
        answer = peer.head
        protocol = answer.headers.get("sec-websocket-protocol")
        extensions = answer.headers.get("sec-websocket-extensions")
        assert (answer.status, protocol, extensions) == (
            case.status,
            case.protocol,
            case.extensions,
        ), MENDED if case.verdict in {TAKEN, MISSED} else answer
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
@pytest.mark.parametrize("path", PATHS)
async def test_answers(monkeypatch: pytest.MonkeyPatch, path: str) -> None:
    """A client takes the answers that it has to take, and fails where it must."""
    take_path(monkeypatch, path)
    await try_all(ANSWERS, check_answer)


async def check_answer(case: Answer) -> None:
    options: dict[str, Any] = {"protocols": SPOKEN} if case.offers else {"compress": False}

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
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("end", ["server", "client"])
async def test_frames(serve: Serve, monkeypatch: pytest.MonkeyPatch, end: str, path: str) -> None:
    """Frames that are right are told, and others end the connection with their code."""
    take_path(monkeypatch, path)
    cases = [
        case
        for case in FRAMES
        if case.at in {None, end} and not (IS_OLDER and case.verdict == TAKEN)
    ]
    await try_all(cases, lambda case: check_frames(serve, end, case))


async def check_frames(serve: Serve, end: str, case: Frames) -> None:
    async with opened(end, serve) as link:
        one = await link(deflate=case.deflate)
        await one.peer.send(case.send(one.peer))
        if case.code is None:
            await one.peer.text("and still open")
            await one.peer.close(1000)
        close = await one.seen.end()
        expected = [*case.values, "and still open"] if case.code is None else list(case.values)
        mended = MENDED if case.verdict == TAKEN else None
        assert one.seen.values == expected, mended
        assert close.code == (case.code or 1000), mended
        assert close.by == ("local" if case.verdict == REFUSED else "peer")
        answered = (await one.peer.closing()).code
        assert answered == (None if close.code == 1005 else close.code)
        assert [f.opcode for f in one.peer.frames].count(Op.PONG) == case.pongs


def test_the_page_says_what_is_so() -> None:
    """The tables of the documentation are those that are tried here."""
    text = PAGE.read_text("utf-8")
    assert text == filled(text), "cd tests && python -m integration.conformance.rfc_cases.page"


def test_every_case_has_a_name_of_its_own() -> None:
    """So that a table's line is one case."""
    for cases in (REQUESTS, ANSWERS, [(case.what, case.at) for case in FRAMES]):
        names = [case if isinstance(case, tuple) else case.what for case in cases]
        assert len(set(names)) == len(names)
