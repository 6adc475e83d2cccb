"""The rules below the close table, with rxws at both ends where the peer matters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection, ConnectionSubscriber, Links
from support.peers.frames import Op
from support.peers.raw import RawServer

SECRET = "the password is swordfish"
Closed = rxws.ConnectionClosed


async def test_a_close_without_a_code_is_reported_at_once() -> None:
    """A client reports a close without a code within 0.5 s, even if TCP stays open."""
    async with RawServer() as server:
        accepting = asyncio.create_task(server.accept())
        async with rxws.connect(server.url) as conn:
            seen = ConnectionSubscriber(conn)
            peer = await accepting
            async with asyncio.timeout(0.5):  # the documented limit
                await peer.close()
                close = await seen.end()
            assert (close.code, close.by) == (1005, "peer")
            assert (await peer.closing()).code is None
            peer.fin()


async def test_a_pause_does_not_delay_our_close(link: Links) -> None:
    """After our close is sent, its answer is read even if the flow is paused."""
    one = await link(close_timeout=60.0)
    pause = one.conn.flow.pause()
    one.conn.outgoing.on_completed()
    await one.peer.closing()
    await one.peer.text("still on its way")
    await one.peer.answer_close()
    await one.ended(1000, by="local", error=None)
    pause.dispose()


async def test_on_next_with_an_unsendable_close_raises(link: Links) -> None:
    """`on_next` with a `Close` that must not be sent raises; the connection stays open."""
    one = await link()
    for code in (1004, 1005, 1006, 1015, 1016, 2999):
        with pytest.raises(ValueError, match=str(code)):
            one.conn.outgoing.on_next(rxws.Close(code))
    one.conn.outgoing.on_next("still here")
    assert (await one.peer.messages(1))[0].payload == b"still here"
    assert not one.seen.ends


async def test_an_unsendable_close_from_a_pipeline_is_1011(serve: Serve, raw_client: Dial) -> None:
    """A `Close` from a returned pipeline that must not be sent closes with 1011."""
    seen: list[ConnectionSubscriber] = []

    def handler(conn: AnyConnection) -> rx.Observable[Any]:
        seen.append(ConnectionSubscriber(conn))
        return conn.incoming.pipe(ops.map(lambda _: rxws.Close(1006)))

    client = await raw_client(await serve(rxws.websocket(handler)))
    await client.text("go")
    assert (await client.answer_close()).code == 1011
    assert await seen[0].end() == rxws.Close(1011, "Unexpected Error")
    assert isinstance(seen[0].error, Closed)
    assert isinstance(seen[0].error.__cause__, ValueError)


@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015, 2999])
async def test_unsendable_connection_closed_becomes_1011(link: Links, code: int) -> None:
    """A `ConnectionClosed` with a code that must not be sent closes with 1011."""
    one = await link()
    one.conn.outgoing.on_error(Closed(rxws.Close(code, "secret", "network")))
    got = await one.peer.answer_close()
    assert (got.code, got.reason) == (1011, "Unexpected Error")
    await one.ended(1011, by="local", error=None)


def handler_raises(conn: AnyConnection) -> None:
    raise RuntimeError(SECRET)


async def coroutine_raises(conn: AnyConnection) -> None:
    await asyncio.sleep(0)
    raise RuntimeError(SECRET)


def pipeline_raises(conn: AnyConnection) -> rx.Observable[Any]:
    return rx.throw(RuntimeError(SECRET))


def pushes_error(conn: AnyConnection) -> None:
    conn.outgoing.on_error(RuntimeError(SECRET))


@pytest.mark.promise("secrets")
@pytest.mark.parametrize(
    "handler", [handler_raises, coroutine_raises, pipeline_raises, pushes_error]
)
async def test_a_failing_handler_is_a_1011_logged_once(
    serve: Serve,
    raw_client: Dial,
    caplog: pytest.LogCaptureFixture,
    handler: Callable[[AnyConnection], Any],
) -> None:
    """If a handler raises, the peer gets 1011 and no error text; the error is logged once."""
    seen: list[ConnectionSubscriber] = []

    def watched(conn: AnyConnection) -> Any:
        seen.append(ConnectionSubscriber(conn))
        return handler(conn)

    with caplog.at_level(logging.INFO, "rxws"):
        client = await raw_client(await serve(rxws.websocket(watched)))
        got = await client.answer_close()
        assert (got.code, got.reason) == (1011, "Unexpected Error")
        assert await client.until_ended()
        assert await seen[0].end() == rxws.Close(1011, "Unexpected Error")
        assert seen[0].error is None
    assert b"swordfish" not in client.received
    logged = [record for record in caplog.records if record.exc_info and record.name == "rxws"]
    assert [str((record.exc_info or [0, 0])[1]) for record in logged] == [SECRET]


def raises(_: object) -> None:
    raise RuntimeError(SECRET)


@pytest.mark.promise("faults")
@pytest.mark.parametrize(
    ("compose", "code", "cause"),
    [
        pytest.param(lambda conn: conn.incoming.subscribe(raises) and None, 1011, RuntimeError),
        pytest.param(
            lambda conn: (
                conn.incoming.subscribe(lambda _: conn.outgoing.on_next(object())) and None
            ),
            1011,
            rxws.EncodeError,
        ),
    ],
    ids=["a subscriber raises", "a value that cannot be sent"],
)
async def test_an_unobserved_fault_ends_incoming(
    link: Links, compose: Callable[[AnyConnection], None], code: int, cause: type[Exception]
) -> None:
    """Without a subscriber to `errors`, `incoming` fails, with the error as its `__cause__`."""
    one = await link(compose)
    await one.peer.text("go")
    await one.ended(code, by="local", error=Closed)
    assert isinstance(one.seen.error, Closed)
    assert isinstance(one.seen.error.__cause__, cause)
    assert one.never_said("swordfish")
    await one.wire(code)


@pytest.mark.parametrize(
    ("codec", "opcode", "payload", "code"),
    [
        pytest.param(rxws.codecs.json, Op.TEXT, b"{", 1007, id="invalid JSON"),
        pytest.param(rxws.codecs.text, Op.BINARY, b"x", 1003, id="binary for text"),
        pytest.param(rxws.codecs.binary, Op.TEXT, b"x", 1003, id="text for binary"),
    ],
)
async def test_an_unobserved_undecodable_frame_ends_incoming(
    link: Links, codec: rxws.Codec[Any, Any], opcode: int, payload: bytes, code: int
) -> None:
    """A frame that cannot be decoded closes with 1007, or 1003 if its type is wrong."""
    one = await link(codec=codec)
    await one.peer.frame(opcode, payload)
    await one.ended(code, by="local", error=Closed)
    assert isinstance(one.seen.error, Closed)
    assert isinstance(one.seen.error.__cause__, rxws.DecodeError)
    await one.wire(code)


@pytest.mark.promise("codes")
async def test_completes_decides_which_closes_complete(link: Links) -> None:
    """The option `completes=` decides whether a peer's close or a loss completes `incoming`."""
    strict = await link(completes=lambda close: False)
    await strict.peer.close(1000)
    await strict.ended(1000, by="peer", error=Closed)
    lax = await link(completes=lambda close: close.code != 1006)
    await lax.peer.close(4002)
    await lax.ended(4002, by="peer", error=None)
    lost = await link(completes=lambda close: close.code != 1006)
    lost.peer.fin()
    await lost.ended(1006, by="network", error=Closed)


async def test_completes_is_not_asked_about_our_own_close(link: Links) -> None:
    """A close that `outgoing` caused completes `incoming` without asking `completes`."""
    asked: list[rxws.Close] = []
    one = await link(completes=asked.append)
    one.conn.outgoing.on_next(rxws.Close(4001))
    await one.peer.answer_close()
    await one.ended(4001, by="local", error=None)
    assert asked == []
