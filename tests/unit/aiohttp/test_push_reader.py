"""The push reader, chunk by chunk, on a fake TCP connection."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from typing import Any

import pytest
from aiohttp import http
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex.abc import DisposableBase

import rxws
from rxws import closing
from support import ROOT
from support.nested_loop import elapsed, run_nested
from support.peers.fake_tcp import PushConnection, loop_turns, push_connection
from support.peers.frames import Decoder, Op, close_body, deflate, frame
from support.peers.raw import PATIENCE

MASK = b"\x37\xfa\x21\x3d"


def text(message: str, mask: bytes | None = MASK) -> bytes:
    return frame(Op.TEXT, message.encode(), mask=mask)


def texts(messages: Iterable[str]) -> bytes:
    """The frames of one text message for each string, as one chunk."""
    return b"".join(map(text, messages))


class PauseControl:
    """Pauses and resumes, and checks that nothing is delivered during a pause."""

    def __init__(self, one: PushConnection) -> None:
        self._one = one
        self.held = False
        one.receiver.react = self.check

    def check(self, _: object) -> None:
        """Check that there is no pause."""
        assert not self.held, "delivered during a pause"

    def pause(self) -> None:
        self.held = True
        self._one.adapter.pause_reading()

    def resume(self) -> None:
        self.held = False
        before = list(self._one.receiver.notifications)
        self._one.adapter.resume_reading()
        assert self._one.receiver.notifications == before, "delivered within resume_reading"


def chained(*steps: Callable[[Any], object]) -> Callable[[Any], None]:
    """Call these functions one after the other."""

    def then(data: object) -> None:
        for step in steps:
            step(data)

    return then


class FakeTime:
    """The push reader's clock, which a test advances.

    With the real one a busy machine would split a chunk into slices.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("rxws._aiohttp.transport.push_reader.monotonic", lambda: self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    return FakeTime(monkeypatch)


# --- order, and where frames end ---------------------------------------------------------------


async def test_all_of_a_chunk_is_delivered_at_once() -> None:
    """All messages of a chunk are delivered within the call that received it."""
    async with push_connection() as one:
        one.line.arrive(texts("abc") + frame(Op.PING, b"p", mask=MASK) + texts("d"))
        assert one.receiver.notifications[-5:] == ["a", "b", "c", ("ping", b"p"), "d"]


KINDS: list[tuple[bytes, Any]] = [
    (frame(Op.TEXT, "grün 🦉".encode()), "grün 🦉"),
    (frame(Op.BINARY, b""), b""),
    (frame(Op.PING, b"ping", mask=MASK), ("ping", b"ping")),
    (frame(Op.BINARY, bytes(126), mask=MASK), bytes(126)),
    (frame(Op.PONG), ("pong", b"")),
    (frame(Op.TEXT, deflate(b"squeezed"), rsv=4), "squeezed"),
]
FRAGMENTS = [
    frame(Op.TEXT, b"in ", fin=False, mask=MASK),
    frame(Op.PING, b"between"),
    frame(Op.CONT, b"", fin=False),
    frame(Op.PONG, b"again", mask=MASK),
    frame(Op.CONT, b"two", mask=MASK),
]
ALL = b"".join(data for data, _ in KINDS) + b"".join(FRAGMENTS) + frame(Op.CLOSE, close_body(1001))
ALL_EVENTS = [
    *(event for _, event in KINDS),
    ("ping", b"between"),
    ("pong", b"again"),
    "in two",
    ("close", 1001, ""),
]


async def test_a_chunk_may_end_after_any_byte() -> None:
    """A chunk may end after any byte of any frame without changing what is delivered."""
    for cut in range(len(ALL) + 1):
        async with push_connection(compress=True) as one:
            before = len(one.receiver.notifications)
            one.line.arrive(ALL[:cut])
            one.line.arrive(ALL[cut:])
            assert one.receiver.notifications[before:] == ALL_EVENTS, cut


async def test_frames_may_arrive_byte_by_byte() -> None:
    """Frames that arrive byte by byte are delivered with their last byte."""
    async with push_connection(compress=True) as one:
        before = len(one.receiver.notifications)
        one.line.arrive(*(bytes([byte]) for byte in ALL))
        assert one.receiver.notifications[before:] == ALL_EVENTS


@pytest.mark.parametrize("length", [125, 126, 65535, 65536, 70_000])
async def test_a_chunk_may_end_within_the_header_of_any_length(length: int) -> None:
    """A chunk may end within a frame's header, for each form of its length."""
    data = frame(Op.BINARY, bytes(length), mask=MASK) + text("next")
    for cut in range(1, 15):
        async with push_connection() as one:
            one.line.arrive(data[:cut], data[cut:])
            assert one.receiver.messages == [bytes(length), "next"]


async def test_bytes_before_the_run_are_delivered_when_it_starts() -> None:
    """Bytes that arrive before the reader runs are delivered first, once and in order."""
    async with push_connection(start=False) as one:
        data = texts("abcd")
        one.socket.early.feed_data(data[:9])  # passed on by aiohttp's own protocol
        one.line.arrive(data[9:11], data[11:])
        await loop_turns()
        assert one.receiver.notifications == []
        one.start()
        await loop_turns(1)
        one.line.arrive(texts("e"))
        assert one.receiver.messages == ["a", "b", "c", "d", "e"]


# --- pauses ------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(5))
async def test_a_pause_within_a_message_stops_before_the_next(at: int) -> None:
    """A pause within a message stops before the next one of the same chunk."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = lambda data: (
            control.pause() if data == "abcde"[at] else control.check(data)
        )
        one.line.arrive(texts("abcde"))
        await loop_turns()
        assert one.receiver.messages == list("abcde")[: at + 1]
        control.resume()
        await loop_turns()
        assert one.receiver.messages == list("abcde")


async def test_a_pause_after_each_message() -> None:
    """Resuming delivers one message if each message pauses again."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = chained(control.check, lambda _: control.pause())
        one.line.arrive(texts("abcde"))
        for count in range(1, 6):
            await loop_turns()
            assert one.receiver.messages == list("abcde")[:count]
            control.resume()
        await loop_turns()
        assert one.receiver.messages == list("abcde")


async def test_a_pause_between_chunks() -> None:
    """Chunks that arrive during a pause are delivered in order after it."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.line.arrive(texts("a"))
        control.pause()
        one.line.arrive(texts("bc"), texts("de"))
        await loop_turns()
        assert one.receiver.messages == ["a"]
        control.resume()
        await loop_turns()
        assert one.receiver.messages == list("abcde")


async def test_a_pause_stops_control_frames_too() -> None:
    """Control frames wait during a pause and keep their place among the messages."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = lambda data: control.pause() if data == "a" else None
        one.line.arrive(texts("a") + frame(Op.PING, b"1", mask=MASK) + texts("b"))
        assert one.receiver.others == []
        control.resume()
        await loop_turns()
        assert one.receiver.notifications[-2:] == [("ping", b"1"), "b"]


async def test_tcp_is_paused_when_more_arrives_during_a_pause() -> None:
    """TCP is paused only if bytes arrive during a pause, and resumed after it."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = lambda data: control.pause() if data == "a" else None
        one.line.arrive(texts("ab"))
        await loop_turns()
        assert one.line.calls == []
        control.resume()
        await loop_turns()
        assert one.line.calls == []
        control.pause()
        one.line.arrive(texts("c"), texts("d"))
        await loop_turns()
        assert one.line.calls == ["pause"]
        control.resume()
        await loop_turns()
        assert one.line.calls == ["pause", "resume"]
        assert one.receiver.messages == list("abcd")


async def test_tcp_stays_paused_until_all_kept_messages_are_delivered() -> None:
    """TCP is resumed once all kept messages are delivered, whatever pauses they cause."""
    async with push_connection() as one:
        control = PauseControl(one)
        control.pause()
        one.receiver.react = chained(
            control.check, lambda data: control.pause() if data in "ab" else None
        )
        one.line.arrive(texts("abc"))
        for _ in range(3):
            assert one.line.calls == ["pause"]
            control.resume()
            await loop_turns()
        assert one.line.calls == ["pause", "resume"]
        assert one.receiver.messages == list("abc")
        assert one.socket.early.data == b""  # and the bytes are not kept


async def test_a_pause_that_ends_within_the_message() -> None:
    """If a message pauses and resumes, the rest is delivered in a later turn."""
    async with push_connection() as one:
        control = PauseControl(one)
        seen: list[int] = []

        def toggle(data: str) -> None:
            control.check(data)
            if data == "b":
                control.pause()
                control.resume()
                seen.append(len(one.receiver.messages))

        one.receiver.react = toggle
        one.line.arrive(texts("abcd"))
        assert one.receiver.messages == ["a", "b"]
        await loop_turns()
        assert seen == [2]
        assert one.receiver.messages == list("abcd")


async def test_a_pause_before_the_run() -> None:
    """A pause before the reader runs delays all messages until it ends."""
    async with push_connection(start=False) as one:
        control = PauseControl(one)
        control.pause()
        one.socket.early.feed_data(texts("ab"))
        one.start()
        await loop_turns()
        one.line.arrive(texts("c"))
        assert one.receiver.messages == []
        control.resume()
        await loop_turns()
        assert one.receiver.messages == list("abc")


async def test_resuming_twice_in_a_turn_is_harmless() -> None:
    """Resuming twice in a turn, or without a pause, is harmless."""
    async with push_connection() as one:
        control = PauseControl(one)
        control.resume()
        await loop_turns()
        control.pause()
        one.line.arrive(texts("ab"))
        control.resume()
        control.resume()
        control.pause()
        control.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert one.line.calls == ["pause", "resume"]


async def test_a_pause_between_resuming_and_the_next_turn() -> None:
    """A pause right after resuming takes effect."""
    async with push_connection() as one:
        control = PauseControl(one)
        control.pause()
        one.line.arrive(texts("ab"))
        control.resume()
        control.pause()
        await loop_turns()
        assert one.receiver.messages == []
        control.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]


Piece = tuple[int, bool, bool]  # size of a message, in two frames or one, masked or not


def stream_of(pieces: list[Piece]) -> tuple[bytes, list[str]]:
    """The bytes of these messages, with a ping between two frames of one, and the messages."""
    data, messages = b"", list[str]()
    for number, (size, split, masked) in enumerate(pieces):
        mask = MASK if masked else None
        message = f"{number}:".ljust(size, ".")
        payload = message.encode()
        if split:
            data += frame(Op.TEXT, payload[:2], fin=False, mask=mask)
            data += frame(Op.PING, b"between", mask=mask)
            data += frame(Op.CONT, payload[2:], mask=mask)
        else:
            data += frame(Op.TEXT, payload, mask=mask)
        messages.append(message)
    return data, messages


def count_messages(data: bytes) -> int:
    """How many messages end within these bytes, by the raw peers' decoder."""
    return sum(one.fin and one.opcode < Op.CLOSE for one in Decoder().feed(data))


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(
        st.tuples(st.sampled_from([0, 5, 125, 126, 3000]), st.booleans(), st.booleans()),
        min_size=1,
        max_size=12,
    ),
    script=st.lists(
        st.one_of(st.sampled_from(["pause", "resume", "turn"]), st.integers(0, 400)), max_size=40
    ),
    within=st.dictionaries(
        st.integers(0, 11), st.lists(st.sampled_from(["pause", "resume", "work"]), max_size=3)
    ),
)
def test_over_random_pauses_messages_are_delivered_once_and_in_order(
    pieces: list[Piece], script: list[str | int], within: dict[int, list[str]]
) -> None:
    """Over random chunks, pauses and turns, each message is delivered once and in order.

    A slow pipeline makes the reader deliver its chunks in slices.
    """
    data, messages = stream_of(pieces)

    async def run(time: FakeTime) -> None:
        async with push_connection() as one:
            control = PauseControl(one)

            def then(message: str) -> None:
                control.check(message)
                for act in within.get(int(message.partition(":")[0]), ()):
                    time.advance(0.02) if act == "work" else getattr(control, act)()

            one.receiver.react = then
            arrived = 0
            for step in [*script, len(data)]:
                if isinstance(step, int):
                    one.line.arrive(data[arrived : arrived + step])
                    arrived = min(len(data), arrived + step)
                elif step == "turn":
                    await loop_turns(4 * len(messages))
                    if not control.held:
                        assert len(one.receiver.messages) == count_messages(data[:arrived])
                else:
                    getattr(control, step)()
                assert one.receiver.messages == messages[: len(one.receiver.messages)]
            for _ in messages:
                control.resume()
                await loop_turns(4)
            control.resume()
            await loop_turns()
            assert one.receiver.messages == messages
            assert one.line.reading

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(run(FakeTime(patch)))


# --- ends --------------------------------------------------------------------------------------


async def end_tcp(one: PushConnection, how: str) -> None:
    if how == "eof":
        one.line.eof()
    else:
        one.line.reset()
    await loop_turns()


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_follows_all_messages(how: str) -> None:
    """The end of TCP is reported once, after all messages."""
    async with push_connection() as one:
        one.line.arrive(texts("ab"))
        await end_tcp(one, how)
        assert one.receiver.messages == ["a", "b"]
        assert one.receiver.others[0] == ("lost",)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_within_a_frame(how: str) -> None:
    """The end of TCP within a frame is reported, without a message for that frame."""
    async with push_connection() as one:
        one.line.arrive(texts("a") + text("cut off")[:-1])
        await end_tcp(one, how)
        assert one.receiver.messages == ["a"]
        assert one.receiver.others[0] == ("lost",)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_during_a_pause(how: str) -> None:
    """The end of TCP during a pause is reported after the messages before it."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = chained(
            control.check, lambda data: control.pause() if data in "ab" else None
        )
        one.line.arrive(texts("abc"))
        await end_tcp(one, how)
        assert one.receiver.messages == ["a"]
        assert ("lost",) not in one.receiver.notifications
        control.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert ("lost",) not in one.receiver.notifications
        control.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b", "c"]
        assert one.receiver.others[0] == ("lost",)


async def test_a_reset_before_the_run() -> None:
    """A reset before the reader runs is reported after the messages before it."""
    async with push_connection(start=False) as one:
        one.line.arrive(texts("ab"))
        one.line.reset()
        await loop_turns()
        running = one.start()
        async with asyncio.timeout(PATIENCE):
            await running
        assert one.receiver.notifications[:3] == ["a", "b", ("lost",)]


async def test_cancelling_one_waiter_for_the_loss_cancels_no_other() -> None:
    """All waiters for the loss of TCP share one future, unless it was cancelled."""
    async with push_connection(start=False) as one:
        protocol = one.line.get_protocol()
        first = protocol.lost
        assert protocol.lost is first
        first.cancel()
        second = protocol.lost
        assert second is not first
        one.line.reset()
        await loop_turns()
        assert second.done()
        assert protocol.lost is second


async def test_a_connection_that_is_lost_during_the_handshake() -> None:
    """If TCP is lost during the handshake, early messages are delivered, then the end."""
    line_closed = PushConnection()
    line_closed.line.abort()
    await loop_turns()
    one = PushConnection.__new__(PushConnection)
    one.__dict__.update(line_closed.__dict__)
    one.adapter = type(one.adapter)(one.socket, one.line, 100)
    one.socket.early.feed_data(texts("ab"))
    running = one.start()
    async with asyncio.timeout(PATIENCE):
        await running
    assert one.receiver.notifications[:3] == ["a", "b", ("lost",)]


@pytest.mark.parametrize(
    ("payload", "event"),
    [(b"", (None, "")), (close_body(1000), (1000, "")), (close_body(4001, "ü"), (4001, "ü"))],
)
async def test_a_close_frame_is_the_last(payload: bytes, event: tuple[int | None, str]) -> None:
    """Whatever follows a close frame is ignored: frames, garbage and the end of TCP."""
    async with push_connection() as one:
        closing = frame(Op.CLOSE, payload, mask=MASK)
        one.line.arrive(texts("a") + closing + texts("b") + b"\xff\xff", texts("c"))
        await loop_turns()
        assert "pause" not in one.line.calls  # it is read and discarded
        one.line.eof()
        await loop_turns()
        assert one.receiver.messages == ["a"]
        assert [each for each in one.receiver.others if each[0] != "lost"] == [("close", *event)]


async def test_a_close_frame_during_a_pause() -> None:
    """A close frame during a pause is reported after it, and nothing follows it."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = lambda data: control.pause() if data == "a" else None
        closing = frame(Op.CLOSE, close_body(1000), mask=MASK)
        one.line.arrive(texts("ab") + closing + texts("c"))
        one.line.arrive(texts("d"))
        await loop_turns()
        assert one.receiver.others == []
        control.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert one.receiver.others[0] == ("close", 1000, "")


VIOLATIONS: list[tuple[str, bytes, int]] = [
    ("opcode 3", frame(3, mask=MASK), 1002),
    ("reserved bit", frame(Op.TEXT, b"x", rsv=2, mask=MASK), 1002),
    ("fragmented ping", frame(Op.PING, fin=False, mask=MASK), 1002),
    ("long ping", frame(Op.PING, bytes(126), mask=MASK), 1002),
    ("nothing to continue", frame(Op.CONT, b"x", mask=MASK), 1002),
    ("a close of one byte", frame(Op.CLOSE, b"x", mask=MASK), 1002),
    ("no UTF-8", frame(Op.TEXT, b"\xff", mask=MASK), 1007),
    ("no UTF-8 in the reason", frame(Op.CLOSE, close_body(1000, b"\xff"), mask=MASK), 1007),
    ("too large", frame(Op.BINARY, bytes(102), mask=MASK), 1009),
    ("a wrong length", frame(Op.BINARY, claim=1 << 62, mask=MASK), 1009),
]


@pytest.mark.parametrize(
    ("data", "code"), [each[1:] for each in VIOLATIONS], ids=[each[0] for each in VIOLATIONS]
)
@pytest.mark.parametrize("paused", [False, True], ids=["", "paused"])
async def test_a_violation_within_a_chunk(data: bytes, code: int, paused: bool) -> None:
    """The messages before a violation are delivered, then the violation, and nothing more."""
    async with push_connection(max_size=100) as one:
        control = PauseControl(one)
        if paused:
            one.receiver.react = lambda data: control.pause() if data == "a" else None
        one.line.arrive(texts("ab") + data + texts("c"))
        assert one.receiver.messages == (["a"] if paused else ["a", "b"])
        control.resume()
        await loop_turns()
        one.line.arrive(texts("d"))
        one.line.eof()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert [each for each in one.receiver.others if each[0] != "lost"] == [("violation", code)]


async def test_data_that_does_not_inflate_is_a_violation() -> None:
    """Data that does not inflate is a violation with 1007."""
    async with push_connection(compress=True) as one:
        one.line.arrive(texts("a") + frame(Op.TEXT, b"\xff" * 5, rsv=4, mask=MASK) + texts("b"))
        assert one.receiver.messages == ["a"]
        assert one.receiver.others == [("violation", 1007)]


async def test_an_abort_within_a_message() -> None:
    """An abort within a message is reported once, after the rest of the chunk."""
    async with push_connection() as one:
        one.receiver.react = lambda data: one.adapter.abort() if data == "a" else None
        one.line.arrive(texts("abc"))
        assert one.running is not None
        async with asyncio.timeout(PATIENCE):
            await one.running
        assert one.receiver.messages == ["a", "b", "c"]
        assert set(one.receiver.others) == {("lost",)}


async def test_resuming_after_a_cancellation_delivers_nothing() -> None:
    """Resuming after the run was cancelled delivers nothing; the loss is reported."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = lambda _: control.pause()
        one.line.arrive(texts("ab"))
        assert one.running is not None
        one.running.cancel()
        await loop_turns()
        control.resume()
        await loop_turns()
        assert one.receiver.messages == ["a"]
        one.line.reset()
        await loop_turns()
        assert one.receiver.others == [("cancelled",), ("lost",)]


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_after_a_cancellation(how: str) -> None:
    """The end of TCP after the run was cancelled is reported once."""
    async with push_connection() as one:
        assert one.running is not None
        one.running.cancel()
        await loop_turns()
        await end_tcp(one, how)
        one.line.abort()
        await loop_turns()
        assert one.receiver.others == [("cancelled",), ("lost",)]


async def test_a_close_frame_after_a_cancellation() -> None:
    """A close frame after the run was cancelled is reported, as the session waits for it."""
    async with push_connection() as one:
        assert one.running is not None
        one.running.cancel()
        await loop_turns()
        one.line.arrive(frame(Op.CLOSE, mask=MASK) + texts("a"))
        assert one.receiver.others == [("cancelled",), ("close", None, "")]
        one.line.reset()
        await loop_turns()
        assert one.receiver.others[2:] == [("lost",)]


# --- replies -----------------------------------------------------------------------------------


async def test_the_replies_to_one_chunk_are_one_write() -> None:
    """The replies to one chunk are one write, in order."""
    async with push_connection() as one:
        one.receiver.react = one.reply
        one.line.arrive(texts("abcde"))
        assert len(one.line.writes) == 1
        assert one.line.texts == list("abcde")
        one.line.arrive(texts("fg"))
        assert len(one.line.writes) == 2


async def test_messages_sent_outside_a_chunk_are_written_at_once() -> None:
    """Messages that are sent outside a chunk are written at once."""
    async with push_connection() as one:
        for count, message in enumerate("abc", 1):
            one.reply(message)
            assert len(one.line.writes) == count
        assert one.line.texts == list("abc")


async def test_many_replies_do_not_wait_for_the_end_of_the_chunk() -> None:
    """Replies of more than 64 KiB are written before the end of the chunk."""
    async with push_connection() as one:
        written: list[int] = []

        def answer(_: str) -> None:
            written.append(sum(map(len, one.line.writes)))
            assert one.adapter.buffered <= 64 << 10
            one.reply("x" * (24 << 10))

        one.receiver.react = answer
        one.line.arrive(texts("abcdefgh"))
        assert written[1] == written[2] == 0
        assert written[3] > 64 << 10
        assert one.line.texts == ["x" * (24 << 10)] * 8
        assert one.adapter.buffered == 0


async def test_collected_replies_count_as_buffered() -> None:
    """Replies that are not written yet count as buffered."""
    async with push_connection() as one:
        seen: list[int] = []

        def answer(data: str) -> None:
            one.reply(data)
            seen.append(one.adapter.buffered)

        one.receiver.react = answer
        one.line.arrive(texts("abc"))
        assert seen == [1, 2, 3]
        assert one.adapter.buffered == 0


async def test_a_full_buffer_pauses_within_the_chunk() -> None:
    """A session that pauses because its replies fill the buffer gets no more messages."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.line.takes = False

        def answer(data: str) -> None:
            control.check(data)
            one.reply("x" * (65 << 10))
            if one.receiver.notifications[-1] == ("writable", False):
                control.pause()

        one.receiver.react = answer
        one.line.arrive(texts("abc"))
        assert one.receiver.messages == ["a"]
        one.line.take()
        control.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b", "c"]


async def test_replies_of_a_slow_pipeline_are_written_before_the_next_message(
    time: FakeTime,
) -> None:
    """Replies of a slow pipeline are written before the next message of the chunk."""
    async with push_connection() as one:
        written: list[int] = []
        seconds = {"b": 0.002, "d": 0.002}

        def answer(data: str) -> None:
            written.append(len(one.line.frames))
            one.reply(data)
            time.advance(seconds.get(data, 0))

        one.receiver.react = answer
        one.line.arrive(texts("abcdef"))
        assert written == [0, 0, 2, 2, 4, 4]
        assert one.line.texts == list("abcdef")


# --- how far the parser reads ahead ------------------------------------------------------------


def parsed_messages(one: PushConnection) -> Collection[tuple[Any, int]]:
    """The messages that are parsed but not delivered yet."""
    reader: Any = one.adapter._reader
    return reader._parser.messages  # type: ignore[no-any-return]


async def test_a_chunk_of_tiny_messages_is_not_parsed_at_once() -> None:
    """Of a chunk with very many messages, a bounded number is parsed ahead."""
    async with push_connection() as one:
        most = 0
        messages = parsed_messages(one)

        def measure(_: object) -> None:
            nonlocal most
            most = max(most, len(messages))

        one.receiver.react = measure
        one.line.arrive(texts(f"{number}" for number in range(20_000)))
        await loop_turns(200)
        assert one.receiver.messages == [f"{number}" for number in range(20_000)]
        assert 64 < most <= (256 << 10) // 128


async def test_messages_that_inflate_are_not_parsed_at_once() -> None:
    """Of a chunk that inflates to much more, a few messages are parsed ahead."""
    size = 100 << 10
    async with push_connection(compress=True, max_size=size) as one:
        sizes: list[int] = []
        messages = parsed_messages(one)

        def measure(_: object) -> None:
            sizes.append(sum(size for _, size in messages))

        one.receiver.react = measure
        one.line.arrive(frame(Op.BINARY, deflate(bytes(size)), rsv=4, mask=MASK) * 64)
        await loop_turns(200)
        assert len(sizes) == 64
        assert max(sizes) <= (256 << 10) + size


async def test_messages_parsed_ahead_during_a_pause_are_bounded() -> None:
    """During a pause a bounded number is parsed ahead; the rest is delivered after it."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = lambda data: control.pause() if data == "0" else None
        sent = [f"{number}" for number in range(5000)]
        one.line.arrive(texts(sent) + b"\xff\xff")
        await loop_turns()
        assert one.receiver.messages == ["0"]
        assert len(parsed_messages(one)) <= (256 << 10) // 128
        control.resume()
        await loop_turns(200)
        assert one.receiver.messages == sent
        assert one.receiver.others[0] == ("violation", 1002)


# --- the loop's turns --------------------------------------------------------------------------


async def test_a_chunk_that_takes_long_is_delivered_in_slices(time: FakeTime) -> None:
    """A chunk that takes long is delivered in slices with turns of the loop between them."""
    async with push_connection() as one:
        ticks: list[int] = []
        loop = asyncio.get_running_loop()

        def tick() -> None:
            ticks.append(len(one.receiver.messages))
            loop.call_later(0, tick) if len(ticks) < 1000 else None

        one.receiver.react = lambda _: time.advance(0.0001)
        data = frame(Op.BINARY, b"x" * 61) * 4096
        assert len(data) > 250 << 10
        loop.call_later(0, tick)
        before = one.adapter.deferred
        one.line.arrive(data)
        assert 0 < len(one.receiver.messages) < 4096
        assert one.adapter.deferred == before + 1
        await loop_turns(200)
        assert len(one.receiver.messages) == 4096
        within = [count for count in ticks if 0 < count < 4096]
        assert len(set(within)) > 10  # other callbacks ran in between
        assert one.adapter.deferred > before + 10
        assert one.line.calls == []  # no more bytes arrived, so TCP was not paused


async def test_a_chunk_that_inflates_is_delivered_in_slices(time: FakeTime) -> None:
    """A chunk of large compressed messages is delivered in slices, too."""
    size = 300 << 10
    async with push_connection(compress=True, max_size=size) as one:
        one.receiver.react = lambda _: time.advance(0.006)
        one.line.arrive(frame(Op.BINARY, deflate(bytes(size)), rsv=4, mask=MASK) * 6)
        for count in (2, 4, 6):
            assert len(one.receiver.messages) == count
            await loop_turns(1)
        assert one.adapter.deferred >= 2


async def test_bytes_that_arrive_between_two_slices_keep_their_place(time: FakeTime) -> None:
    """Bytes, and the end of TCP, that arrive between two slices wait for the rest."""
    async with push_connection() as one:
        one.receiver.react = lambda _: time.advance(0.02)
        one.line.arrive(texts("abc"))
        assert one.receiver.messages == ["a"]
        one.line.arrive(texts("d"))
        assert one.line.calls == ["pause"]
        one.line.reset()
        await loop_turns()
        assert one.receiver.messages == list("abcd")
        assert one.receiver.others[0] == ("lost",)


async def test_a_pause_between_two_slices(time: FakeTime) -> None:
    """A pause between two slices delays the next slice."""
    async with push_connection() as one:
        control = PauseControl(one)
        one.receiver.react = chained(control.check, lambda _: time.advance(0.02))
        one.line.arrive(texts("abc"))
        control.pause()
        await loop_turns()
        assert one.receiver.messages == ["a"]
        control.resume()
        await loop_turns()
        assert one.receiver.messages == list("abc")


async def test_nothing_is_delivered_after_a_slow_close_handler(
    monkeypatch: pytest.MonkeyPatch, time: FakeTime
) -> None:
    """No message is delivered after a close frame whose handler takes long."""
    async with push_connection() as one:
        monkeypatch.setattr(one.receiver, "on_close", lambda *_: time.advance(1.0))
        one.line.arrive(frame(Op.CLOSE, mask=MASK) + texts("a"))
        await loop_turns()
        assert one.receiver.messages == []


# --- exceptions --------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_is_not_swallowed(error: type[BaseException]) -> None:
    """KeyboardInterrupt and SystemExit pass through the parser; the connection ends with 1011."""
    one = PushConnection()
    session = one.session()
    ended: list[rxws.Close] = []
    session.closed.subscribe(ended.append)

    def interrupted(data: str) -> None:
        session.outgoing.on_next(data)
        raise error

    session.incoming.subscribe(interrupted)
    running = one.start(session)
    await loop_turns(1)
    with pytest.raises(error):
        one.line.arrive(texts("ab"))
    assert one.line.texts == ["a"]
    assert ended == [closing.UNEXPECTED]
    one.line.arrive(texts("c"))  # ignored after the end
    one.line.reset()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([running])


@pytest.mark.parametrize("when", ["within a chunk", "after a pause"])
async def test_a_subscriber_that_raises_cancelled_error(when: str) -> None:
    """A CancelledError of a subscriber ends with 1011, and goes to the loop's handler."""
    one = PushConnection()
    session = one.session()
    ended: list[rxws.Close] = []
    session.closed.subscribe(ended.append)
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    pauses: list[DisposableBase] = []

    def fail(data: str) -> None:
        if data == "pause":
            pauses.append(session.flow.pause())
        else:
            future.result()

    session.incoming.subscribe(fail)
    running = one.start(session)
    await loop_turns(1)
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    try:
        if when == "within a chunk":
            one.line.arrive(text("x"))
        else:
            one.line.arrive(text("pause") + text("x"))
            one.line.arrive(text("y"))
            pauses[0].dispose()
        await loop_turns()
    finally:
        one.line.reset()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([running])
    assert [type(context["exception"]) for context in unhandled] == [asyncio.CancelledError]
    assert ended == [closing.UNEXPECTED]
    assert [each.opcode for each in one.line.frames] == [Op.CLOSE]


# --- aiohttp's pure Python parser --------------------------------------------------------------


@pytest.mark.skipif(
    isinstance(http.WebSocketReader.feed_data, type(text)),
    reason="the pure Python parser is in use",
)
def test_this_module_passes_with_the_pure_python_parser() -> None:
    """All tests of this module pass with aiohttp's pure Python parser."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__],
        cwd=ROOT,
        env={**os.environ, "AIOHTTP_NO_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# --- nested event loops ------------------------------------------------------------------------


async def test_chunks_within_a_notification_follow_it() -> None:
    """Chunks and the end that arrive while a message is delivered follow in order."""
    async with push_connection() as one:
        log: list[Any] = []

        def nest(data: object) -> None:
            log.append(data)
            if data == "a":
                one.reply("before")
                one.line.arrive(texts("cd"))
                assert one.line.texts == ["before"]  # written at once
                one.reply("after")
                assert one.line.texts == ["before", "after"]
                one.line.arrive(texts("e"))
                one.line.eof()
                assert not one.line.reading
                log.append("a ends")

        one.receiver.react = nest
        one.line.arrive(texts("ab"))
        await loop_turns()
        assert log == ["a", "a ends", "b", "c", "d", "e"]
        assert one.receiver.others[0] == ("lost",)
        assert one.adapter.deferred == 1


async def test_the_end_of_tcp_within_a_notification_follows_the_messages() -> None:
    """The end of TCP that is reported while a message is delivered follows its chunk."""
    async with push_connection() as one:
        one.receiver.react = lambda data: one.adapter.on_eof() if data == "a" else None
        one.line.arrive(texts("ab"))
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert one.receiver.notifications.index("b") < one.receiver.notifications.index(("lost",))


@pytest.mark.skipif(
    os.environ.get("RXWS_TEST_LOOP") == "uvloop", reason="only asyncio's own loop can run nested"
)
async def test_a_pause_may_end_within_a_notification() -> None:
    """A pause that begins and ends in a nested event loop stops nothing."""
    async with push_connection() as one:

        def nest(data: object) -> None:
            if data == "a":
                one.adapter.pause_reading()
                one.adapter.resume_reading()
                run_nested(elapsed(0.02))

        one.receiver.react = nest
        one.line.arrive(texts("ab"))
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]


async def test_broken_data_within_a_notification_is_reported_after_it() -> None:
    """Broken data that arrives while a message is delivered ends the connection after it."""
    async with push_connection() as one:

        def nest(data: object) -> None:
            if data == "a":
                one.line.arrive(frame(3, mask=MASK))

        one.receiver.react = nest
        one.line.arrive(texts("ab"))
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert one.receiver.others[0] == ("violation", 1002)
