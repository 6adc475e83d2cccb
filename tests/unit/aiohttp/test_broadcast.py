"""One value to many connections: shared frames, and one write per connection and burst."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable, Observer, Subject
from reactivex import operators as ops
from reactivex.internal import noop

import rxws
from rxws import codecs
from rxws._core.broadcast import Broadcast, Burst, SharedStream
from rxws._core.frames import Opcode
from rxws._core.streams.stream import Dispatcher
from rxws._session.handler import run_handler
from rxws._session.session import Session
from support.fixtures import Dial, Serve
from support.peers.endpoints import EXTENSION
from support.peers.fake_tcp import PushConnection, loop_turns, push_connection
from support.peers.frames import Frame, Op
from support.peers.raw import RawClient
from support.telemetry import installed


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Connect raw clients, and reset them at the end."""
    peers: list[RawClient] = []

    async def connect(port: int, **options: Any) -> RawClient:
        peers.append(await RawClient.connect(port, **options))
        return peers[-1]

    yield connect
    for peer in peers:
        await peer.rst()


class Topic(SharedStream[Any]):
    """Delivers as a topic of a hub does."""

    is_shared = True

    def __init__(self) -> None:
        self.faults: list[Exception] = []
        super().__init__(Dispatcher(), self.faults.append, noop)

    def send(self, *values: Any) -> None:
        """Deliver values: several of them are a burst."""
        with contextlib.nullcontext() if len(values) == 1 else Burst():
            for value in values:
                with Broadcast(value):
                    self.emit(value)


class Counted:
    """A codec that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.codec: rxws.Codec[str | bytes, Any] = rxws.Codec(self.encode, codecs.raw.decode)

    def encode(self, value: object) -> str:
        self.calls += 1
        return str(value)


@contextlib.asynccontextmanager
async def members(
    count: int, source: Observable[Any], **options: Any
) -> AsyncIterator[Sequence[tuple[PushConnection, Session[Any, Any]]]]:
    """Run connections whose handlers return the source."""
    async with contextlib.AsyncExitStack() as stack:
        found: list[tuple[PushConnection, Session[Any, Any]]] = []
        for _ in range(count):
            one = await stack.enter_async_context(push_connection(start=False))
            session = one.session(**options)
            run_handler(lambda conn: source, session)
            one.start(session)
            found.append((one, session))
        await loop_turns(2)
        yield found


PIPELINES: dict[str, Callable[[Observable[Any]], Observable[Any]]] = {
    "topic": lambda topic: topic,
    "merge": lambda topic: rx.merge(topic, rx.never()),
    "filter": lambda topic: topic.pipe(ops.filter(bool)),
    "map": lambda topic: topic.pipe(ops.map(lambda value: value)),
}


@pytest.mark.parametrize("pipeline", PIPELINES)
async def test_a_value_is_encoded_once_for_all_connections(pipeline: str) -> None:
    """Also behind operators that pass the object on; every connection writes the same bytes."""
    topic, counted = Topic(), Counted()
    async with members(3, PIPELINES[pipeline](topic), codec=counted.codec) as found:
        topic.send({"price": 1})
        assert counted.calls == 1
        written = [one.line.writes for one, _ in found]
        assert written == [[b"\x81\x0c{'price': 1}"]] * 3
        assert [session.send_buffer.sent_messages for _, session in found] == [1, 1, 1]
        assert [session.send_buffer.sent_bytes for _, session in found] == [12, 12, 12]
        topic.emit({"price": 2})  # by itself
        assert counted.calls == 4
        assert topic.faults == []


async def test_connections_with_other_codecs_have_their_own_encodings() -> None:
    """Two codecs take turns: each encodes once, and text and binary frames are not confused."""
    topic, text, binary = Topic(), Counted(), codecs.Codec[Any, Any](str.encode, codecs.raw.decode)
    async with (
        members(2, topic, codec=text.codec) as texts,
        members(2, topic, codec=binary) as binaries,
        members(2, topic, codec=text.codec) as more,
    ):
        topic.send("a", "b")
        assert text.calls == 2
        assert [one.line.writes for one, _ in (*texts, *more)] == [[b"\x81\x01a\x81\x01b"]] * 4
        assert [one.line.writes for one, _ in binaries] == [[b"\x82\x01a\x82\x01b"]] * 2


@pytest.mark.parametrize("first", ["own", "shared"])
async def test_a_shared_frame_keeps_its_place_among_collected_ones(first: str) -> None:
    """While a connection reads, its own messages and shared ones are one write, in order."""
    topic = Topic()
    async with members(2, topic) as found:
        one, session = found[1]
        writer = one.adapter._writer
        writer.corked = True
        if first == "own":
            session.outgoing.on_next("own")
            topic.send("shared")
        else:
            topic.send("shared")
            session.outgoing.on_next("own")
        assert one.line.writes == []
        writer.corked = False
        writer.flush()
        frames = {"own": b"\x81\x03own", "shared": b"\x81\x06shared"}
        last = "shared" if first == "own" else "own"
        assert one.line.writes == [frames[first] + frames[last]]
        assert found[0][0].line.texts == ["shared"]


async def test_a_shared_frame_follows_frames_that_are_not_flushed_yet() -> None:
    """A frame that was collected is written before a shared one, or with it."""
    topic = Topic()
    async with members(2, topic) as found:
        one, session = found[1]
        writer = one.adapter._writer
        writer.corked = True
        session.outgoing.on_next("own")
        writer.corked = False
        topic.send("shared")
        assert one.line.writes == [b"\x81\x03own\x81\x06shared"]


async def test_an_opcode_is_not_confused_with_an_equal_payload() -> None:
    """CPython has one object for each one-byte `bytes`: a text and a binary frame can share it."""
    topic = Topic()
    async with members(2, topic) as found:
        with Broadcast("a"):
            topic.emit("a")
            assert found[0][0].adapter.write(Opcode.BINARY, b"a")
        assert found[0][0].line.writes == [b"\x81\x01a", b"\x82\x01a"]


async def test_the_key_is_computed_once_for_all_connections() -> None:
    """A slow connection keeps the newest message of each key, and the key is computed once."""
    keys: list[str] = []

    def key(value: str) -> str:
        keys.append(value)
        return value[0]

    topic = Topic()
    async with members(3, topic, overflow=rxws.overflow.latest(key)) as found:
        for one, _ in found:
            one.line.takes = False
        topic.send("a1")  # fills the sockets
        keys.clear()
        topic.send("a2", "b1", "a3")
        assert keys == ["a2", "b1", "a3"]
        for one, _ in found:
            one.line.take()
        assert [one.line.texts for one, _ in found] == [["a1", "a3", "b1"]] * 3


async def test_a_burst_is_one_write_per_connection() -> None:
    """Shared values, mapped values and other messages of the connection keep their order."""
    topic = Topic()
    mapped = topic.pipe(ops.map(lambda value: f"<{value}>"))
    async with members(2, topic) as plain, members(2, mapped) as others:
        _, session = plain[0]
        topic.subscribe(lambda value: session.connection.outgoing.on_next(f"{value}!"))
        topic.send("1", "2", "")
        assert [len(one.line.writes) for one, _ in (*plain, *others)] == [1, 1, 1, 1]
        assert plain[0][0].line.texts == ["1", "1!", "2", "2!", "", "!"]
        assert plain[1][0].line.texts == ["1", "2", ""]
        assert others[0][0].line.texts == ["<1>", "<2>", "<>"]
        assert plain[0][0].adapter.buffered == 0
        session.connection.outgoing.on_next("after")
        assert plain[0][0].line.texts[-1] == "after"


async def test_a_large_burst_is_written_in_parts() -> None:
    """A connection writes as soon as it has collected more than 64 KiB."""
    topic = Topic()
    async with members(1, topic) as ((one, _),):
        topic.send(*["x" * 30_000] * 4)
        assert len(one.line.writes) == 2
        assert one.line.texts == ["x" * 30_000] * 4


async def test_a_connection_that_closes_in_a_burst_sends_what_came_before() -> None:
    """The close frame follows the collected messages, and nothing follows it."""
    topic = Topic()
    async with members(2, topic) as ((one, session), (other, _)):
        watch = topic.subscribe(
            lambda value: session.connection.outgoing.on_completed() if value == "2" else None
        )
        topic.send("1", "2", "3")
        watch.dispose()
        assert one.line.texts == ["1", "2"]
        assert one.line.frames[-1].opcode == Op.CLOSE
        assert session.flow.drop_counts == {"closed": 1}
        assert other.line.texts == ["1", "2", "3"]


async def test_a_lost_connection_does_not_affect_the_others() -> None:
    """After TCP is lost, messages are not written; the other connections get all of them."""
    topic = Topic()
    async with members(3, topic) as found:
        found[1][0].line.reset()
        topic.send("1")
        topic.send("2", "3")
        assert found[0][0].line.texts == found[2][0].line.texts == ["1", "2", "3"]
        assert found[1][0].line.writes == []
        await loop_turns()
        topic.send("4")
        assert found[2][0].line.texts[-1] == "4"


@pytest.mark.parametrize("burst", [False, True])
async def test_a_write_that_raises_ends_its_own_connection(
    burst: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others get the messages, and the exception is reported."""
    topic, reported = Topic(), list[Any]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with members(3, topic) as found:
        broken, session = found[1]

        def fail(_: bytes) -> None:
            raise RuntimeError("cannot write")

        topic.send("0")
        with monkeypatch.context() as patch:
            patch.setattr(broken.line, "write", fail)
            with contextlib.suppress(RuntimeError):
                topic.send(*["1", "2"][: 1 + burst])
        await loop_turns()
        assert session.state.name != "OPEN"
        expected = ["0", "1", "2"][: 2 + burst]
        assert found[0][0].line.texts == found[2][0].line.texts == expected
        assert [str(each.get("exception")) for each in reported] + [
            str(each) for each in topic.faults
        ] == ["cannot write"]


async def test_a_value_that_cannot_be_encoded_is_reported_by_every_connection() -> None:
    """Each connection reports the error, and goes on."""
    topic = Topic()
    async with members(2, topic, codec=codecs.json) as found:
        errors: list[Exception] = []
        for _, session in found:
            session.connection.errors.subscribe(errors.append)
        topic.send(object())
        assert [type(each) for each in errors] == [rxws.EncodeError] * 2
        topic.send(1)
        assert [one.line.texts for one, _ in found] == [["1"], ["1"]]


async def test_an_observed_connection_emits_what_a_topic_sends() -> None:
    """Subscribers of `outgoing` see every message."""
    topic = Topic()
    async with members(2, topic) as found:
        seen: list[Any] = []
        found[1][1].connection.outgoing.subscribe(seen.append)
        topic.send("1", "2")
        assert seen == ["1", "2"]


async def test_another_thread_pushes_through_the_loop() -> None:
    """A value that another thread delivers is sent on the connection's thread, encoded once."""
    subject, counted = Subject[Any](), Counted()
    async with members(2, subject, codec=counted.codec) as found:

        def deliver() -> None:
            with Broadcast(value := ["x"]):
                subject.on_next(value)
                value.append("changed")

        await asyncio.to_thread(deliver)
        await loop_turns()
        assert counted.calls == 1
        assert [one.line.texts for one, _ in found] == [["['x']"]] * 2


@contextlib.asynccontextmanager
async def idle_members(
    topic: Topic, count: int = 2, **options: Any
) -> AsyncIterator[list[tuple[PushConnection, Session[Any, Any]]]]:
    """Run connections to which deliveries write without asking their sessions.

    The last one comes first: the first one of each delivery encodes the value.
    """
    async with members(count, topic, **options) as found:
        topic.send("0")
        for one, session in found:
            assert one.adapter.wire.ready_for is session.send_buffer._options.codec
            assert one.line.texts == ["0"]
            one.line.writes.clear()
        yield list(reversed(found))


async def test_an_idle_connection_is_written_to_and_counted() -> None:
    """Each message is one write of the same bytes, and counts as sent."""
    topic = Topic()
    async with idle_members(topic) as found:
        topic.send("é")
        assert [one.line.writes for one, _ in found] == [[b"\x81\x02\xc3\xa9"]] * 2
        for _, session in found:
            assert session.flow.stats.sent_messages == 2
            assert session.flow.stats.sent_bytes == 3


async def test_a_burst_to_idle_connections_is_one_write_each() -> None:
    """The collected frames count as buffered until the end of the burst."""
    topic = Topic()
    async with idle_members(topic) as found:
        buffered: list[int] = []
        topic.subscribe(lambda _: buffered.extend(one.adapter.buffered for one, _ in found))
        topic.send("1", "22", "4444")
        assert [one.line.writes for one, _ in found] == [[b"\x81\x011\x81\x0222\x81\x044444"]] * 2
        assert buffered == [1, 1, 3, 3, 7, 7]
        assert [one.adapter.buffered for one, _ in found] == [0, 0]
        assert [session.flow.stats.sent_messages for _, session in found] == [4, 4]


async def test_a_large_burst_to_idle_connections_is_written_in_parts() -> None:
    """A connection writes as soon as it has collected more than 64 KiB."""
    topic = Topic()
    async with idle_members(topic) as found:
        topic.send(*["x" * 30_000] * 4)
        for one, _ in found:
            assert [len(data) // 30_000 for data in one.line.writes] == [3, 1]


async def test_metrics_count_what_deliveries_write() -> None:
    """With metrics, every message counts by its type, alone and in a burst."""
    with installed() as telemetry:
        topic = Topic()
        async with members(2, topic) as found:
            for values in ([b"0"], [b"12"], [b"3", b"4"], ["text"], ["é"]):
                topic.send(*values)
            transmitted = {"network__io__direction": "transmit"}
            messages = telemetry.values("messages", "rxws.message.type", **transmitted)
            assert messages == {"text": 4, "binary": 8}
            sizes = telemetry.values("io", "rxws.message.type", **transmitted)
            assert sizes == {"text": 12, "binary": 10}
            assert [session.flow.stats.sent_messages for _, session in found] == [6, 6]


@pytest.mark.parametrize("how", ["subscribe", "watch"])
async def test_an_idle_connection_may_be_observed_later(how: str) -> None:
    """From then on `outgoing` emits every message; without an observer, deliveries write again."""
    topic = Topic()
    async with idle_members(topic) as ((one, session), _):
        seen = list[Any]()
        outgoing = session.outgoing
        if how == "subscribe":
            subscription = outgoing.subscribe(seen.append)
        else:
            subscription = outgoing.watch(Observer(seen.append))
        topic.send("1")
        topic.send("2", "3")
        assert seen == ["1", "2", "3"]
        subscription.dispose()
        topic.send("4")
        topic.send("5")
        assert seen == ["1", "2", "3"]
        assert one.line.texts == ["1", "2", "3", "4", "5"]
        assert one.adapter.wire.ready_for is not None


async def test_an_idle_connection_whose_socket_fills_keeps_the_order() -> None:
    """While the socket is full, messages wait in the send buffer; then deliveries write again."""
    topic = Topic()
    async with idle_members(topic) as ((one, session), (other, _)):
        one.line.takes = False
        topic.send("1")
        topic.send("2")
        topic.send("3", "4")
        assert one.line.texts == ["1"]
        assert session.flow.buffered > 0
        session.outgoing.on_next("own")
        one.line.take()
        topic.send("5")
        assert one.line.texts == ["1", "2", "3", "4", "own", "5"]
        assert other.line.texts == ["1", "2", "3", "4", "5"]
        assert session.flow.stats.sent_messages == 7
        assert one.adapter.wire.ready_for is not None


@pytest.mark.parametrize("burst", [False, True])
async def test_an_idle_connection_that_closes_gets_no_more(burst: bool) -> None:
    """Its close frame is the last one, and later messages count as dropped."""
    topic = Topic()
    async with idle_members(topic) as ((one, session), (other, _)):
        session.outgoing.on_completed()
        topic.send(*["1", "2"][: 1 + burst])
        assert [frame.opcode for frame in one.line.frames] == [Op.CLOSE]
        assert session.flow.drop_counts == {"closed": 1 + burst}
        assert other.line.texts == ["1", "2"][: 1 + burst]


async def test_an_idle_connection_that_has_ended_gets_no_more() -> None:
    """A delivery that began before the end still has the connection, and writes nothing to it."""
    topic = Topic()
    async with idle_members(topic) as ((one, session), _):
        topic.watch(Observer(lambda _: session.shutdown()))  # before the connections
        topic.send("1")
        assert [frame.opcode for frame in one.line.frames] == [Op.CLOSE]
        assert session.flow.stats.sent_messages == 1
        assert session.flow.drop_counts == {"closed": 1}


@pytest.mark.parametrize("burst", [False, True])
async def test_an_idle_connection_that_is_lost_counts_what_it_drops(burst: bool) -> None:
    """Nothing is written once TCP is lost, and nothing of it counts as sent."""
    topic = Topic()
    async with idle_members(topic) as ((one, session), (other, _)):
        flow = session.flow
        one.line.reset()
        topic.send(*["1", "2"][: 1 + burst])
        await loop_turns()
        topic.send("3")
        assert one.line.writes == []
        assert flow.stats.sent_messages == 1
        assert sum(flow.drop_counts.values()) >= 1 + burst
        assert other.line.texts[-1] == "3"


async def test_an_idle_connection_of_another_loop_sends_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A value that another thread delivers is not written on that thread."""
    topic, threads = Topic(), list[int]()
    async with idle_members(topic) as found:
        one, _ = found[0]
        write = one.line.write

        def note(data: Any) -> None:
            threads.append(threading.get_ident())
            write(data)

        monkeypatch.setattr(one.line, "write", note)
        await asyncio.to_thread(topic.send, "1")
        await loop_turns()
        assert one.line.texts == ["1"]
        assert threads == [threading.get_ident()]


async def test_a_keyboard_interrupt_reaches_the_caller_after_all_have_the_value(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It ends the connection that it interrupted, and no other."""
    topic = Topic()
    async with idle_members(topic, 3) as found:
        line = found[1][0].line

        def interrupt(_: Any) -> None:
            monkeypatch.undo()
            raise KeyboardInterrupt

        monkeypatch.setattr(line, "write", interrupt)
        interrupted = False
        try:
            topic.send("1")
        except KeyboardInterrupt:
            interrupted = True
        assert interrupted
        assert [one.line.texts for one, _ in found] == [["1"], [], ["1"]]
        assert [each.state.name for _, each in found] == ["OPEN", "CLOSED", "OPEN"]
        assert topic.faults == []


async def test_a_value_outside_of_a_delivery_is_encoded_by_each() -> None:
    """A value that is not the one being delivered shares nothing."""
    topic = Topic()
    async with idle_members(topic) as found:
        with Broadcast("x"):
            topic.emit("y")
        assert [one.line.texts for one, _ in found] == [["y"]] * 2


async def test_a_stream_that_fails_closes_its_connections() -> None:
    """They close with 1011, as after any error of a handler."""
    topic = Topic()
    async with idle_members(topic) as found:
        topic.end(ValueError("no more"))
        for one, _ in found:
            assert [frame.payload[:2] for frame in one.line.frames] == [(1011).to_bytes(2, "big")]


async def test_an_ended_stream_completes_a_connection_at_once() -> None:
    """A handler may return a topic that has ended: the connection closes with 1000."""
    topic = Topic()
    topic.end()
    async with members(1, topic) as ((one, _),):
        assert [frame.opcode for frame in one.line.frames] == [Op.CLOSE]


OFFERS = {
    "none": None,
    "takeover": "permessage-deflate",
    "no takeover": "permessage-deflate; server_no_context_takeover",
    "small window": "permessage-deflate; server_no_context_takeover; server_max_window_bits=10",
}


def inflated(frames: Sequence[Frame], keep: bool) -> list[str]:
    """Decompress messages, with the context of the earlier ones or without."""
    inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    found: list[str] = []
    for each in frames:
        data = each.payload
        if each.rsv:
            if not keep:
                inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
            data = inflate.decompress(data + b"\0\0\xff\xff")
        found.append(data.decode())
    return found


async def test_all_wire_formats_carry_the_same_messages(
    serve: Serve, dial: Dial, read_path: str
) -> None:
    """Raw peers with every kind of compression get all messages in order, alone and in bursts."""
    del read_path
    topic = Topic()

    def member(conn: rxws.Connection[Any, Any]) -> Observable[Any]:
        conn.incoming.subscribe()
        return topic

    port = await serve(rxws.websocket(member, compress=True, codec=codecs.json))
    values = [{"n": n, "text": "the same words " * 20} for n in range(6)]
    peers: dict[str, list[RawClient]] = {}
    for _ in range(2):
        for name, offer in OFFERS.items():
            peer = await dial(port, headers={EXTENSION: offer})
            peers.setdefault(name, []).append(peer)
    topic.send(values[0])
    topic.send(*values[1:4])
    await peers["takeover"][0].text("only this one")  # does not change what is shared
    topic.send(values[4])
    topic.send("x" * 20_000, values[5])  # a large message is compressed in a thread
    expected = [codecs.json.encode(each) for each in (*values[:5], "x" * 20_000, values[5])]
    for name, pair in peers.items():
        frames = [await peer.messages(len(expected)) for peer in pair]
        for each in frames:
            assert {bool(one.rsv) for one in each} == {name != "none"}
            assert inflated(each, keep=name == "takeover") == expected
        assert frames[0] == frames[1]
    assert topic.faults == []


async def test_frames_without_context_takeover_are_compressed_once(
    serve: Serve, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections with the same window share the compressed frame."""
    from aiohttp.http import WebSocketWriter

    compressed: list[int] = []
    original = WebSocketWriter._send_compressed_frame_sync

    def count(self: Any, message: bytes, opcode: int, compress: Any) -> None:
        compressed.append(self.compress)
        original(self, message, opcode, compress)

    monkeypatch.setattr(WebSocketWriter, "_send_compressed_frame_sync", count)
    topic = Topic()
    port = await serve(rxws.websocket(lambda conn: topic, compress=True))
    names = ("no takeover", "small window", "no takeover", "small window", "takeover")
    peers = [await dial(port, headers={EXTENSION: OFFERS[name]}) for name in names]
    topic.send("a" * 100)
    assert sorted(compressed) == [10, 15, 15]
    for peer in peers:
        assert len(await peer.messages(1)) == 1


async def test_a_connection_without_compression_may_follow_one_with_it(
    serve: Serve, dial: Dial
) -> None:
    """The first connection has encoded the value, but not built the frame of the others."""
    topic = Topic()
    port = await serve(rxws.websocket(lambda conn: topic, compress=True))
    peers = [await dial(port, headers={EXTENSION: OFFERS["takeover"]})]
    peers += [await dial(port) for _ in range(2)]
    topic.send("shared")
    assert topic.faults == []
    for peer in peers[1:]:
        assert [one.payload for one in await peer.messages(1)] == [b"shared"]
    assert len(await peers[0].messages(1)) == 1


async def test_a_stuck_subscriber_does_not_delay_the_others(serve: Serve, dial: Dial) -> None:
    """One of 20 subscribers does not read: its own overflow applies, the others get everything."""
    topic, flows = Topic(), list[Any]()

    def member(conn: rxws.Connection[Any, Any]) -> Observable[Any]:
        flows.append(conn.flow)
        return topic

    options: dict[str, Any] = {"overflow": "drop_oldest", "max_buffer": 200_000}
    port = await serve(rxws.websocket(member, compress=False, **options))
    stuck = await dial(port, reads=False, receive_buffer=4096)
    others = [await dial(port) for _ in range(19)]
    count = 0
    while not flows[0].drop_counts:
        topic.send(*(f"{number:06}".ljust(20_000) for number in range(count, count + 10)))
        count += 10
        for each in others:
            await each.messages(count)
    for each in others:
        numbers = [int(one.payload) for one in await each.messages(count)]
        assert numbers == list(range(count))
    assert flows[0].drop_counts.keys() == {"overflow"}
    assert all(not flow.drop_counts for flow in flows[1:])
    assert not stuck.frames
