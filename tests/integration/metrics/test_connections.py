"""Metrics and spans of connections over real sockets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import websockets
from aiohttp import ClientSession, web
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode
from reactivex import operators as ops
from reactivex.subject import Subject

import rxws
from support.fixtures import Dial, Serve
from support.telemetry import Telemetry, installed

Conn = rxws.Connection[Any, Any]

KINDS = (("text", 1), ("binary", 2))
IO = ("network.io.direction", "rxws.message.type")


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with installed() as telemetry:
        yield telemetry


def echo(conn: Conn) -> Any:
    return conn.incoming


async def serve_echo(serve: Serve, handler: rxws.Handler[Any, Any] = echo) -> int:
    app = web.Application()
    route = rxws.websocket(handler, codec=rxws.codecs.raw)
    app.add_routes([web.get("/rooms/{room}", route)])
    rxws.setup(app)
    return await serve(app)


@pytest.mark.usefixtures("read_path")
async def test_messages_count_by_direction_and_type(serve: Serve, telemetry: Telemetry) -> None:
    """Messages and the bytes of their payloads are counted by direction and type, at both ends."""
    port = await serve_echo(serve)
    async with rxws.connect(f"ws://127.0.0.1:{port}/rooms/a") as conn:
        for message in ("grüße", b"abc", b"defg"):
            conn.outgoing.on_next(message)
        await conn.incoming.pipe(ops.take(3))
        for role in ("server", "client"):
            expected = {(way, kind): n for way in ("receive", "transmit") for kind, n in KINDS}
            assert telemetry.values("messages", *IO, rxws__role=role) == expected
            in_bytes = dict.fromkeys(expected, 7)
            assert telemetry.values("io", *IO, rxws__role=role) == in_bytes
        assert telemetry.values("active_connections") == {"server": 1, "client": 1}
    assert telemetry.values("messages", *IO, rxws__role="client") == expected, "kept after the end"


async def test_the_route_is_its_template(serve: Serve, telemetry: Telemetry) -> None:
    """Connections to one route have one `http.route`, whatever their path; clients have none."""
    port = await serve_echo(serve)
    for room in ("a", "b"):
        async with rxws.connect(f"ws://127.0.0.1:{port}/rooms/{room}?token=secret"):
            pass
    closed = telemetry.values("closed_connections", "rxws.role", "http.route")
    assert closed == {("server", "/rooms/{room}"): 2, ("client", None): 2}
    points = str([metric.to_json() for metric in telemetry.collect().values()])
    assert "127.0.0.1" not in points
    assert "secret" not in points


async def test_ends_count_by_code_and_side(
    serve: Serve, telemetry: Telemetry, raw_client: Dial
) -> None:
    """An end counts by its code and by who has ended the connection."""
    conns: list[Conn] = []

    def handler(conn: Conn) -> Any:
        conns.append(conn)
        return conn.incoming

    port = await serve_echo(serve, handler=handler)
    async with websockets.connect(f"ws://127.0.0.1:{port}/rooms/a") as peer:
        await peer.close(4001, "enough")
    lost = await raw_client(port, "/rooms/b")
    await lost.rst()
    await conns[1].closed
    ends = telemetry.values("closed_connections", "rxws.close.by", "rxws.close.code")
    assert ends == {("peer", 4001): 1, ("network", 1006): 1}
    assert telemetry.values("connection.duration") == {"server": 2}


@pytest.mark.parametrize(
    ("request_headers", "status"),
    [({"Origin": "https://evil.example"}, 403), ({"Sec-WebSocket-Version": "12"}, 426)],
)
async def test_refused_handshakes_count(
    serve: Serve, telemetry: Telemetry, request_headers: dict[str, str], status: int
) -> None:
    """A refused handshake counts by its HTTP status; it is no connection, and no server error."""
    port = await serve_echo(serve)
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    async with ClientSession() as client:
        url = f"http://127.0.0.1:{port}/rooms/a"
        async with client.get(url, headers={**upgrade, **request_headers}) as response:
            assert response.status == status
    keys = ("http.route", "http.response.status_code", "error.type")
    failed = telemetry.values("failed_handshakes", *keys)
    assert failed == {("/rooms/{room}", status, str(status)): 1}
    assert telemetry.values("active_connections") == {}
    span = telemetry.span("WebSocket /rooms/{room}")
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == status
    assert span.status.status_code is StatusCode.UNSET


async def test_failed_attempts_of_a_client_count(serve: Serve, telemetry: Telemetry) -> None:
    """An attempt of a client that fails counts by the error, and its span has an error status."""

    async def refuse(_: web.Request) -> web.StreamResponse:
        raise web.HTTPUnauthorized

    port = await serve(refuse)
    with pytest.raises(rxws.HandshakeError):
        await rxws.connect(f"ws://127.0.0.1:{port}/?token=secret")
    with pytest.raises(rxws.ConnectError):
        await rxws.connect("ws://127.0.0.1:1/")
    with pytest.raises(rxws.ConnectError):
        await rxws.connect("no url [")
    failed = telemetry.values("failed_handshakes", "rxws.role", "error.type")
    assert failed[("client", "401")] == failed[("client", "ClientConnectorError")] == 1
    assert sum(failed.values()) == 3
    for span in telemetry.spans:
        assert span.kind is SpanKind.CLIENT
        assert span.status.status_code is StatusCode.ERROR
        assert "secret" not in span.to_json()


async def test_the_span_of_a_connection(serve: Serve, telemetry: Telemetry) -> None:
    """A connection's span lasts until its close, which is in its attributes."""
    port = await serve_echo(serve)
    async with rxws.connect(f"ws://127.0.0.1:{port}/rooms/a", protocols=["chat"]) as conn:
        conn.outgoing.on_next("hello")
        await conn.incoming.pipe(ops.first())
        assert not telemetry.spans
        conn.outgoing.on_next(rxws.Close(4001, "why"))
        await conn.closed
    server = telemetry.span("WebSocket /rooms/{room}")
    assert server.kind is SpanKind.SERVER
    assert server.attributes is not None
    assert {
        "http.route": "/rooms/{room}",
        "url.path": "/rooms/a",
        "client.address": "127.0.0.1",
        "server.port": port,
        "http.response.status_code": 101,
        "rxws.close.code": 4001,
        "rxws.close.reason": "why",
        "rxws.close.by": "peer",
        "rxws.received.messages": 1,
        "rxws.sent.bytes": 5,
        "rxws.dropped.messages": 0,
    }.items() <= server.attributes.items()
    assert [event.name for event in server.events] == ["rxws.open"]
    assert server.status.status_code is StatusCode.ERROR, "`incoming` has failed with 4001"
    client = telemetry.span("WebSocket")
    assert client.status.status_code is StatusCode.UNSET, "this side has asked for the close"


async def test_an_exception_of_a_handler_is_in_its_span(serve: Serve, telemetry: Telemetry) -> None:
    """A handler that fails makes its span fail, with the exception; so does a subscriber."""

    def fail(conn: Conn) -> Any:
        if conn.handshake.url.path == "/rooms/early":
            raise ValueError("no such room")
        return conn.incoming.pipe(ops.map(int))

    port = await serve_echo(serve, handler=fail)
    for room in ("early", "late"):
        async with rxws.connect(f"ws://127.0.0.1:{port}/rooms/{room}") as conn:
            conn.outgoing.on_next("x")
            assert await conn.closed == rxws.Close(1011, "Unexpected Error")
    texts = []
    for span in telemetry.spans:
        if span.kind is SpanKind.SERVER:
            assert span.status.status_code is StatusCode.ERROR
            texts += [e.attributes["exception.message"] for e in span.events if e.attributes]
    assert texts == ["no such room", "invalid literal for int() with base 10: 'x'"]


async def test_spans_are_children_of_the_current_span(serve: Serve, telemetry: Telemetry) -> None:
    """A client's span is a child of the current one, and the server's span of the client's.

    What the handlers and the subscribers do belongs to the span of the connection.
    """
    tracer = telemetry.tracers.get_tracer("test")
    inner: list[trace.Span] = []

    def handler(conn: Conn) -> Any:
        inner.append(trace.get_current_span())
        return conn.incoming.pipe(ops.do_action(lambda _: inner.append(trace.get_current_span())))

    port = await serve_echo(serve, handler=handler)
    with tracer.start_as_current_span("outer") as outer:
        headers = {"X-Mine": "1"}
        async with rxws.connect(f"ws://127.0.0.1:{port}/rooms/a", headers=headers) as conn:
            assert trace.get_current_span() is outer
            conn.outgoing.on_next("x")
            await conn.incoming.pipe(ops.first())
    assert not trace.get_current_span().get_span_context().is_valid
    server, client = telemetry.span("WebSocket /rooms/{room}"), telemetry.span("WebSocket")
    assert client.parent is not None
    assert client.parent == outer.get_span_context()
    assert server.parent is not None
    assert server.context is not None
    assert client.context is not None
    assert (server.parent.trace_id, server.parent.span_id) == (
        client.context.trace_id,
        client.context.span_id,
    )
    assert [span.get_span_context() for span in inner] == [server.context] * 2


async def test_the_headers_of_a_user_win(serve: Serve, telemetry: Telemetry) -> None:
    """The header of the trace is added to those of the user, and replaces none."""
    seen: list[Any] = []

    def handler(conn: Conn) -> None:
        seen.append(dict(conn.handshake.headers))

    port = await serve_echo(serve, handler=handler)
    mine = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for headers in ({"traceparent": mine}, {"X-Mine": "1"}):
        async with rxws.connect(f"ws://127.0.0.1:{port}/rooms/a", headers=headers):
            pass
    assert seen[0]["traceparent"] == mine
    assert seen[1]["X-Mine"] == "1"
    assert seen[1]["traceparent"].startswith("00-")


async def test_drops_and_buffers_of_a_slow_peer(
    serve: Serve, telemetry: Telemetry, raw_client: Dial
) -> None:
    """Dropped messages count by reason, also after the end; unsent bytes show while they wait."""
    source: Subject[bytes] = Subject()
    conns: list[Conn] = []

    def handler(conn: Conn) -> Any:
        conns.append(conn)
        return source

    app = web.Application()
    route = rxws.websocket(
        handler, overflow="drop_newest", max_buffer=100_000, kernel_buffer=4096, compress=False
    )
    app.add_routes([web.get("/feed", route)])
    rxws.setup(app)
    peer = await raw_client(await serve(app), "/feed", receive_buffer=4096, reads=False)
    [conn] = conns
    while not conn.flow.stats.dropped:
        source.on_next(b"x" * 10_000)
    dropped = dict(conn.flow.stats.dropped)
    assert telemetry.values("dropped_messages", "rxws.drop.reason") == dropped
    assert telemetry.values("send_buffer.usage")["server"] == conn.flow.buffered > 50_000
    sent = telemetry.values("messages", *IO)
    assert sent[("transmit", "binary")] == conn.flow.stats.sent_messages
    assert sent[("transmit", "text")] == 0
    await peer.rst()
    await conn.closed
    assert telemetry.values("send_buffer.usage")["server"] == 0
    before = telemetry.values("dropped_messages", "rxws.drop.reason")["closed"]
    conn.outgoing.on_next(b"too late")
    after = telemetry.values("dropped_messages", "rxws.drop.reason")
    assert after == {"overflow": dropped["overflow"], "closed": before + 1}


async def test_the_queue_of_a_slow_peer_is_counted_by_type(
    serve: Serve, telemetry: Telemetry, raw_client: Dial
) -> None:
    """Messages that had to wait are counted by type when they are sent."""
    conns: list[Conn] = []
    port = await serve_echo(serve, handler=conns.append)
    peer = await raw_client(port, "/rooms/a", receive_buffer=4096, reads=False)
    [conn] = conns
    count = 0
    while conn.flow.buffered < 500_000:
        conn.outgoing.on_next(b"x" * 20_000)
        conn.outgoing.on_next("y" * 20_000)
        count += 1
    assert telemetry.values("messages", *IO)[("transmit", "binary")] < count
    peer.start_reading()
    await peer.messages(2 * count)
    assert telemetry.values("messages", *IO)[("transmit", "binary")] == count
    assert telemetry.values("messages", *IO)[("transmit", "text")] == count


async def test_reconnecting_clients_count_by_state(serve: Serve, telemetry: Telemetry) -> None:
    """Reconnecting clients count by their state, and their attempts are counted."""
    port = await serve_echo(serve)

    def clients() -> dict[Any, Any]:
        return telemetry.values("reconnect.clients", "rxws.reconnect.state")

    assert clients() == {}
    up = rxws.WebSocketSubject(f"ws://127.0.0.1:{port}/rooms/a")
    down = rxws.WebSocketSubject("ws://127.0.0.1:1/", backoff=rxws.backoff.constant(60))
    with up.subscribe(), down.subscribe():
        assert clients() == {"connecting": 2, "open": 0, "waiting": 0}
        await up.status.pipe(ops.first(lambda status: isinstance(status, rxws.status.Open)))
        await down.status.pipe(ops.first(lambda status: isinstance(status, rxws.status.Waiting)))
        assert clients() == {"connecting": 0, "open": 1, "waiting": 1}
        connection = up.connection
        assert connection is not None
    await connection.closed
    assert clients() == {"connecting": 0, "open": 0, "waiting": 0}
    assert telemetry.values("reconnect.attempts") == {None: 2}
