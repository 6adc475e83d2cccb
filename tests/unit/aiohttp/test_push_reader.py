"""The push path chunk by chunk, on a TCP that is played; see `pushed`."""

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
from support import ROOT
from support.peers.fake_tcp import PushConnection, loop_turns, push_connection
from support.peers.frames import Decoder, Op, close_body, deflate, frame
from support.peers.raw import PATIENCE

MASK = b"\x37\xfa\x21\x3d"


def text(message: str, mask: bytes | None = MASK) -> bytes:
    return frame(Op.TEXT, message.encode(), mask=mask)


def texts(messages: Iterable[str]) -> bytes:
    """A chunk with one message for each, be it each character."""
    return b"".join(map(text, messages))


class Hand:
    """Holds and lets go, and finds out whether anything is delivered where nothing may be."""

    def __init__(self, one: PushConnection) -> None:
        self._one = one
        self.held = False
        one.receiver.react = self.look

    def look(self, _: object) -> None:
        assert not self.held, "delivered during a hold"

    def pause(self) -> None:
        self.held = True
        self._one.adapter.pause_reading()

    def resume(self) -> None:
        self.held = False
        before = list(self._one.receiver.notifications)
        self._one.adapter.resume_reading()
        assert self._one.receiver.notifications == before, "delivered within the call"


def in_turn(*steps: Callable[[Any], object]) -> Callable[[Any], None]:
    """One after the other."""

    def then(data: object) -> None:
        for step in steps:
            step(data)

    return then


class Time:
    """What the push path takes for the time: it passes when a test says so.

    Else a chunk would be told in two slices wherever a busy machine takes its time.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr("rxws._aiohttp.transport.push_reader.monotonic", lambda: self.now)

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture(autouse=True)
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    return Time(monkeypatch)


# --- order, and where frames end ---------------------------------------------------------------


async def test_all_of_a_chunk_is_delivered_at_once() -> None:
    """Within the call in which it comes: no turn of the loop lies between."""
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
ALL_TOLD = [
    *(told for _, told in KINDS),
    ("ping", b"between"),
    ("pong", b"again"),
    "in two",
    ("close", 1001, ""),
]


async def test_frames_that_are_cut_anywhere() -> None:
    """A chunk may end after any byte of any frame: what is told is the same, in the same order."""
    for cut in range(len(ALL) + 1):
        async with push_connection(compress=True) as one:
            before = len(one.receiver.notifications)
            one.line.arrive(ALL[:cut])
            one.line.arrive(ALL[cut:])
            assert one.receiver.notifications[before:] == ALL_TOLD, cut


async def test_frames_that_come_byte_by_byte() -> None:
    """Each message is told with its last byte."""
    async with push_connection(compress=True) as one:
        before = len(one.receiver.notifications)
        one.line.arrive(*(bytes([byte]) for byte in ALL))
        assert one.receiver.notifications[before:] == ALL_TOLD


@pytest.mark.parametrize("length", [125, 126, 65535, 65536, 70_000])
async def test_a_frame_of_every_length_that_is_cut_in_its_header(length: int) -> None:
    """Each form that a length has may be cut, too."""
    data = frame(Op.BINARY, bytes(length), mask=MASK) + text("next")
    for cut in range(1, 15):
        async with push_connection() as one:
            one.line.arrive(data[:cut], data[cut:])
            assert one.receiver.messages == [bytes(length), "next"]


async def test_what_comes_before_it_runs_is_told_when_it_does() -> None:
    """In order, once, and before what comes after."""
    async with push_connection(start=False) as one:
        data = texts("abcd")
        one.socket.early.feed_data(data[:9])  # from the hands of aiohttp's own protocol
        one.line.arrive(data[9:11], data[11:])
        await loop_turns()
        assert one.receiver.notifications == []
        one.start()
        await loop_turns(1)
        one.line.arrive(texts("e"))
        assert one.receiver.messages == ["a", "b", "c", "d", "e"]


# --- holds -------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", range(5))
async def test_a_hold_within_a_message_stops_before_the_next(at: int) -> None:
    """Of one and the same chunk, and be it that one frame or many follow: not one comes more."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = lambda data: hand.pause() if data == "abcde"[at] else hand.look(data)
        one.line.arrive(texts("abcde"))
        await loop_turns()
        assert one.receiver.messages == list("abcde")[: at + 1]
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == list("abcde")


async def test_a_hold_after_each_message() -> None:
    """One hold after the other in one chunk lets out exactly one message each."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = in_turn(hand.look, lambda _: hand.pause())
        one.line.arrive(texts("abcde"))
        for count in range(1, 6):
            await loop_turns()
            assert one.receiver.messages == list("abcde")[:count]
            hand.resume()
        await loop_turns()
        assert one.receiver.messages == list("abcde")


async def test_a_hold_between_chunks() -> None:
    """What comes after it waits, and is told in order when it is over."""
    async with push_connection() as one:
        hand = Hand(one)
        one.line.arrive(texts("a"))
        hand.pause()
        one.line.arrive(texts("bc"), texts("de"))
        await loop_turns()
        assert one.receiver.messages == ["a"]
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == list("abcde")


async def test_a_hold_stops_control_frames_too() -> None:
    """They keep their place among the messages."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = lambda data: hand.pause() if data == "a" else None
        one.line.arrive(texts("a") + frame(Op.PING, b"1", mask=MASK) + texts("b"))
        assert one.receiver.others == []
        hand.resume()
        await loop_turns()
        assert one.receiver.notifications[-2:] == [("ping", b"1"), "b"]


async def test_tcp_is_paused_when_more_comes_during_a_hold() -> None:
    """Not before: a hold that is over by then costs no system call; and it is resumed after."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = lambda data: hand.pause() if data == "a" else None
        one.line.arrive(texts("ab"))
        await loop_turns()
        assert one.line.calls == []
        hand.resume()
        await loop_turns()
        assert one.line.calls == []
        hand.pause()
        one.line.arrive(texts("c"), texts("d"))
        await loop_turns()
        assert one.line.calls == ["pause"]
        hand.resume()
        await loop_turns()
        assert one.line.calls == ["pause", "resume"]
        assert one.receiver.messages == list("abcd")


async def test_tcp_stays_paused_when_what_was_kept_brings_the_next_hold() -> None:
    """It is resumed once all that had come was told, and not paused twice."""
    async with push_connection() as one:
        hand = Hand(one)
        hand.pause()
        one.receiver.react = in_turn(hand.look, lambda data: hand.pause() if data in "ab" else None)
        one.line.arrive(texts("abc"))
        for _ in range(3):
            assert one.line.calls == ["pause"]
            hand.resume()
            await loop_turns()
        assert one.line.calls == ["pause", "resume"]
        assert one.receiver.messages == list("abc")
        assert one.socket.early.data == b""  # nor is it kept for the connection's life


async def test_a_hold_that_is_let_go_within_the_message() -> None:
    """Nothing is delivered within either call; the rest comes in a later turn."""
    async with push_connection() as one:
        hand = Hand(one)
        seen: list[int] = []

        def toggle(data: str) -> None:
            hand.look(data)
            if data == "b":
                hand.pause()
                hand.resume()
                seen.append(len(one.receiver.messages))

        one.receiver.react = toggle
        one.line.arrive(texts("abcd"))
        assert one.receiver.messages == ["a", "b"]
        await loop_turns()
        assert seen == [2]
        assert one.receiver.messages == list("abcd")


async def test_a_hold_before_it_runs() -> None:
    """Nothing is delivered until it is let go, and then all."""
    async with push_connection(start=False) as one:
        hand = Hand(one)
        hand.pause()
        one.socket.early.feed_data(texts("ab"))
        one.start()
        await loop_turns()
        one.line.arrive(texts("c"))
        assert one.receiver.messages == []
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == list("abc")


async def test_to_let_go_twice_in_a_turn() -> None:
    """It is the same as once, and so is letting go of what nobody holds."""
    async with push_connection() as one:
        hand = Hand(one)
        hand.resume()
        await loop_turns()
        hand.pause()
        one.line.arrive(texts("ab"))
        hand.resume()
        hand.resume()
        hand.pause()
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert one.line.calls == ["pause", "resume"]


async def test_a_hold_that_comes_between_letting_go_and_the_next_turn() -> None:
    """The latest word counts."""
    async with push_connection() as one:
        hand = Hand(one)
        hand.pause()
        one.line.arrive(texts("ab"))
        hand.resume()
        hand.pause()
        await loop_turns()
        assert one.receiver.messages == []
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]


Piece = tuple[int, bool, bool]  # the size of a message, and whether it is in two frames, masked


def stream_of(pieces: list[Piece]) -> tuple[bytes, list[str]]:
    """The bytes of messages, with a ping between two frames of one, and the messages."""
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


def complete(data: bytes) -> int:
    """How many messages end within these bytes, by the decoder of the raw peers."""
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
def test_whatever_is_held_and_let_go(
    pieces: list[Piece], script: list[str | int], within: dict[int, list[str]]
) -> None:
    """In any order of chunks, holds and turns, nothing is lost, doubled, or told during a hold.

    However long the pipeline takes, too, so that chunks are told in slices.
    """
    data, messages = stream_of(pieces)

    async def live(time: Time) -> None:
        async with push_connection() as one:
            hand = Hand(one)

            def then(message: str) -> None:
                hand.look(message)
                for act in within.get(int(message.partition(":")[0]), ()):
                    time.passes(0.02) if act == "work" else getattr(hand, act)()

            one.receiver.react = then
            arrived = 0
            for step in [*script, len(data)]:
                if isinstance(step, int):
                    one.line.arrive(data[arrived : arrived + step])
                    arrived = min(len(data), arrived + step)
                elif step == "turn":
                    await loop_turns(4 * len(messages))
                    if not hand.held:
                        assert len(one.receiver.messages) == complete(data[:arrived])
                else:
                    getattr(hand, step)()
                assert one.receiver.messages == messages[: len(one.receiver.messages)]
            for _ in messages:
                hand.resume()
                await loop_turns(4)
            hand.resume()
            await loop_turns()
            assert one.receiver.messages == messages
            assert one.line.reading

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(live(Time(patch)))


# --- ends --------------------------------------------------------------------------------------


async def end_by(one: PushConnection, how: str) -> None:
    if how == "eof":
        one.line.eof()
    else:
        one.line.reset()
    await loop_turns()


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_follows_what_came_before(how: str) -> None:
    """All messages are told, then the end, once."""
    async with push_connection() as one:
        one.line.arrive(texts("ab"))
        await end_by(one, how)
        assert one.receiver.messages == ["a", "b"]
        assert one.receiver.others[0] == ("lost",)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_within_a_frame(how: str) -> None:
    """A frame that never ends is no message, and the end is told all the same."""
    async with push_connection() as one:
        one.line.arrive(texts("a") + text("cut off")[:-1])
        await end_by(one, how)
        assert one.receiver.messages == ["a"]
        assert one.receiver.others[0] == ("lost",)


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_during_a_hold(how: str) -> None:
    """What came before is told after the hold, and the end after that."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = in_turn(hand.look, lambda data: hand.pause() if data in "ab" else None)
        one.line.arrive(texts("abc"))
        await end_by(one, how)
        assert one.receiver.messages == ["a"]
        assert ("lost",) not in one.receiver.notifications
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert ("lost",) not in one.receiver.notifications
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b", "c"]
        assert one.receiver.others[0] == ("lost",)


async def test_a_reset_before_it_runs() -> None:
    """What came before the reset is told first."""
    async with push_connection(start=False) as one:
        one.line.arrive(texts("ab"))
        one.line.reset()
        await loop_turns()
        running = one.start()
        async with asyncio.timeout(PATIENCE):
            await running
        assert one.receiver.notifications[:3] == ["a", "b", ("lost",)]


async def test_all_who_wait_for_the_loss_of_tcp_wait_for_the_same() -> None:
    """It comes once; and who was cancelled while waiting does not cancel the next who waits."""
    async with push_connection(start=False) as one:
        wire = one.line.get_protocol()
        first = wire.lost
        assert wire.lost is first
        first.cancel()
        second = wire.lost
        assert second is not first
        one.line.reset()
        await loop_turns()
        assert second.done()
        assert wire.lost is second


async def test_a_connection_that_was_lost_in_the_handshake() -> None:
    """What aiohttp had got by then is told, then the end."""
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
    ("payload", "told"),
    [(b"", (None, "")), (close_body(1000), (1000, "")), (close_body(4001, "ü"), (4001, "ü"))],
)
async def test_a_close_frame_is_the_last(payload: bytes, told: tuple[int | None, str]) -> None:
    """What follows it, in its chunk or in another, is ignored: frames, rubbish, the end of TCP."""
    async with push_connection() as one:
        closing = frame(Op.CLOSE, payload, mask=MASK)
        one.line.arrive(texts("a") + closing + texts("b") + b"\xff\xff", texts("c"))
        await loop_turns()
        assert "pause" not in one.line.calls  # it is read, and forgotten
        one.line.eof()
        await loop_turns()
        assert one.receiver.messages == ["a"]
        assert [each for each in one.receiver.others if each[0] != "lost"] == [("close", *told)]


async def test_a_close_frame_during_a_hold() -> None:
    """It is told after the hold, and what follows it never is."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = lambda data: hand.pause() if data == "a" else None
        closing = frame(Op.CLOSE, close_body(1000), mask=MASK)
        one.line.arrive(texts("ab") + closing + texts("c"))
        one.line.arrive(texts("d"))
        await loop_turns()
        assert one.receiver.others == []
        hand.resume()
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
    ("no UTF-8 for a reason", frame(Op.CLOSE, close_body(1000, b"\xff"), mask=MASK), 1007),
    ("too large", frame(Op.BINARY, bytes(102), mask=MASK), 1009),
    ("a length that lies", frame(Op.BINARY, claim=1 << 62, mask=MASK), 1009),
]


@pytest.mark.parametrize(
    ("data", "code"), [each[1:] for each in VIOLATIONS], ids=[each[0] for each in VIOLATIONS]
)
@pytest.mark.parametrize("held", [False, True], ids=["", "held"])
async def test_a_violation_within_a_chunk(data: bytes, code: int, held: bool) -> None:
    """What came before it is told, then the violation, and nothing that follows."""
    async with push_connection(max_size=100) as one:
        hand = Hand(one)
        if held:
            one.receiver.react = lambda data: hand.pause() if data == "a" else None
        one.line.arrive(texts("ab") + data + texts("c"))
        assert one.receiver.messages == (["a"] if held else ["a", "b"])
        hand.resume()
        await loop_turns()
        one.line.arrive(texts("d"))
        one.line.eof()
        await loop_turns()
        assert one.receiver.messages == ["a", "b"]
        assert [each for each in one.receiver.others if each[0] != "lost"] == [("violation", code)]


async def test_data_that_does_not_inflate() -> None:
    """What zlib says of it is a violation, too."""
    async with push_connection(compress=True) as one:
        one.line.arrive(texts("a") + frame(Op.TEXT, b"\xff" * 5, rsv=4, mask=MASK) + texts("b"))
        assert one.receiver.messages == ["a"]
        assert one.receiver.others == [("violation", 1007)]


async def test_an_end_within_a_message() -> None:
    """TCP that is aborted by who is told of a message ends once, after the rest of the chunk."""
    async with push_connection() as one:
        one.receiver.react = lambda data: one.adapter.abort() if data == "a" else None
        one.line.arrive(texts("abc"))
        assert one.running is not None
        async with asyncio.timeout(PATIENCE):
            await one.running
        assert one.receiver.messages == ["a", "b", "c"]
        assert set(one.receiver.others) == {("lost",)}


async def test_a_run_that_is_cancelled_during_a_hold() -> None:
    """To let go afterwards delivers nothing more, and the loss is told."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = lambda _: hand.pause()
        one.line.arrive(texts("ab"))
        assert one.running is not None
        one.running.cancel()
        await loop_turns()
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == ["a"]
        one.line.reset()
        await loop_turns()
        assert one.receiver.others == [("cancelled",), ("lost",)]


@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_the_end_of_tcp_after_a_run_was_cancelled(how: str) -> None:
    """It is told once."""
    async with push_connection() as one:
        assert one.running is not None
        one.running.cancel()
        await loop_turns()
        await end_by(one, how)
        one.line.abort()
        await loop_turns()
        assert one.receiver.others == [("cancelled",), ("lost",)]


async def test_a_close_frame_after_a_run_was_cancelled() -> None:
    """It is told, as the session then waits for it, and harms nobody who waits no more."""
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


async def test_the_replies_to_one_chunk_leave_in_one_write() -> None:
    """Messages and pongs alike, in order."""
    async with push_connection() as one:
        one.receiver.react = one.reply
        one.line.arrive(texts("abcde"))
        assert len(one.line.writes) == 1
        assert one.line.texts == list("abcde")
        one.line.arrive(texts("fg"))
        assert len(one.line.writes) == 2


async def test_what_is_sent_outside_of_a_chunk_is_written_at_once() -> None:
    """Each message on its own, within the call."""
    async with push_connection() as one:
        for count, message in enumerate("abc", 1):
            one.reply(message)
            assert len(one.line.writes) == count
        assert one.line.texts == list("abc")


async def test_many_replies_do_not_wait_for_the_end_of_the_chunk() -> None:
    """What is collected is written when it is more than 64 KiB."""
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


async def test_what_is_collected_counts_as_buffered() -> None:
    """Until it is written."""
    async with push_connection() as one:
        seen: list[int] = []

        def answer(data: str) -> None:
            one.reply(data)
            seen.append(one.adapter.buffered)

        one.receiver.react = answer
        one.line.arrive(texts("abc"))
        assert seen == [1, 2, 3]
        assert one.adapter.buffered == 0


async def test_a_wire_that_is_full_holds_within_the_chunk_that_filled_it() -> None:
    """A session that pauses because of its replies is told of no more, and goes on after."""
    async with push_connection() as one:
        hand = Hand(one)
        one.line.takes = False

        def answer(data: str) -> None:
            hand.look(data)
            one.reply("x" * (65 << 10))
            if one.receiver.notifications[-1] == ("writable", False):
                hand.pause()

        one.receiver.react = answer
        one.line.arrive(texts("abc"))
        assert one.receiver.messages == ["a"]
        one.line.take()
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == ["a", "b", "c"]


async def test_what_a_slow_pipeline_has_sent_leaves_before_the_next_message(time: Time) -> None:
    """A peer need not wait for the rest of a chunk; a fast pipeline's replies still join."""
    async with push_connection() as one:
        written: list[int] = []
        seconds = {"b": 0.002, "d": 0.002}

        def answer(data: str) -> None:
            written.append(len(one.line.frames))
            one.reply(data)
            time.passes(seconds.get(data, 0))

        one.receiver.react = answer
        one.line.arrive(texts("abcdef"))
        assert written == [0, 0, 2, 2, 4, 4]
        assert one.line.texts == list("abcdef")


# --- what is parsed ahead ----------------------------------------------------------------------


def waiting(one: PushConnection) -> Collection[tuple[Any, int]]:
    """The messages that are parsed, and not told yet."""
    reader: Any = one.adapter._reader
    return reader._parser.messages  # type: ignore[no-any-return]


async def test_a_chunk_of_tiny_messages_is_not_parsed_at_once() -> None:
    """Those that wait are bounded, however many a chunk has; all are told, in order."""
    async with push_connection() as one:
        most = 0
        messages = waiting(one)

        def look(_: object) -> None:
            nonlocal most
            most = max(most, len(messages))

        one.receiver.react = look
        one.line.arrive(texts(f"{number}" for number in range(20_000)))
        await loop_turns(200)
        assert one.receiver.messages == [f"{number}" for number in range(20_000)]
        assert 64 < most <= (256 << 10) // 128


async def test_messages_that_inflate_are_not_parsed_at_once() -> None:
    """A chunk that becomes much more takes no more than a few messages of that at a time."""
    size = 100 << 10
    async with push_connection(compress=True, max_size=size) as one:
        sizes: list[int] = []
        messages = waiting(one)

        def look(_: object) -> None:
            sizes.append(sum(size for _, size in messages))

        one.receiver.react = look
        one.line.arrive(frame(Op.BINARY, deflate(bytes(size)), rsv=4, mask=MASK) * 64)
        await loop_turns(200)
        assert len(sizes) == 64
        assert max(sizes) <= (256 << 10) + size


async def test_what_is_parsed_ahead_during_a_hold_has_its_bound() -> None:
    """And what comes behind it is told after the hold, the peer's violation last."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = lambda data: hand.pause() if data == "0" else None
        sent = [f"{number}" for number in range(5000)]
        one.line.arrive(texts(sent) + b"\xff\xff")
        await loop_turns()
        assert one.receiver.messages == ["0"]
        assert len(waiting(one)) <= (256 << 10) // 128
        hand.resume()
        await loop_turns(200)
        assert one.receiver.messages == sent
        assert one.receiver.others[0] == ("violation", 1002)


# --- the loop's turns --------------------------------------------------------------------------


async def test_a_chunk_that_takes_long_is_told_in_slices(time: Time) -> None:
    """256 KiB of small messages let others have their turns, and `deferred` tells of it."""
    async with push_connection() as one:
        ticks: list[int] = []
        loop = asyncio.get_running_loop()

        def tick() -> None:
            ticks.append(len(one.receiver.messages))
            loop.call_later(0, tick) if len(ticks) < 1000 else None

        one.receiver.react = lambda _: time.passes(0.0001)
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
        assert len(set(within)) > 10  # others ran between, again and again
        assert one.adapter.deferred > before + 10
        assert one.line.calls == []  # no more came, so TCP was not paused


async def test_a_chunk_that_inflates_is_told_in_slices(time: Time) -> None:
    """Also where each message is so large that the parser waits until it is taken."""
    size = 300 << 10
    async with push_connection(compress=True, max_size=size) as one:
        one.receiver.react = lambda _: time.passes(0.006)
        one.line.arrive(frame(Op.BINARY, deflate(bytes(size)), rsv=4, mask=MASK) * 6)
        for count in (2, 4, 6):
            assert len(one.receiver.messages) == count
            await loop_turns(1)
        assert one.adapter.deferred >= 2


async def test_what_comes_between_two_slices_keeps_its_place(time: Time) -> None:
    """It waits behind the rest of the chunk, and so does the end of TCP."""
    async with push_connection() as one:
        one.receiver.react = lambda _: time.passes(0.02)
        one.line.arrive(texts("abc"))
        assert one.receiver.messages == ["a"]
        one.line.arrive(texts("d"))
        assert one.line.calls == ["pause"]
        one.line.reset()
        await loop_turns()
        assert one.receiver.messages == list("abcd")
        assert one.receiver.others[0] == ("lost",)


async def test_a_hold_between_two_slices(time: Time) -> None:
    """The turn that was to bring the next slice brings nothing then."""
    async with push_connection() as one:
        hand = Hand(one)
        one.receiver.react = in_turn(hand.look, lambda _: time.passes(0.02))
        one.line.arrive(texts("abc"))
        hand.pause()
        await loop_turns()
        assert one.receiver.messages == ["a"]
        hand.resume()
        await loop_turns()
        assert one.receiver.messages == list("abc")


async def test_a_slow_close(monkeypatch: pytest.MonkeyPatch, time: Time) -> None:
    """A close frame that takes long to handle is the last, too."""
    async with push_connection() as one:
        monkeypatch.setattr(one.receiver, "on_close", lambda *_: time.passes(1.0))
        one.line.arrive(frame(Op.CLOSE, mask=MASK) + texts("a"))
        await loop_turns()
        assert one.receiver.messages == []


# --- what is raised ----------------------------------------------------------------------------


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_is_not_swallowed(error: type[BaseException]) -> None:
    """What ends a program passes through the parser; what was sent has left, and 1001 after it."""
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
    assert ended == [rxws.Close(1001, "Going Away")]
    one.line.arrive(texts("c"))  # is nothing any more
    one.line.reset()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([running])


@pytest.mark.parametrize("when", ["within a chunk", "after a hold"])
async def test_a_subscriber_that_raises_cancelled_error(when: str) -> None:
    """`result()` of a cancelled future ends a connection as on the pull path: by 1001."""
    one = PushConnection()
    session = one.session()
    ended: list[rxws.Close] = []
    session.closed.subscribe(ended.append)
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.cancel()
    holds: list[DisposableBase] = []

    def fail(data: str) -> None:
        if data == "hold":
            holds.append(session.flow.pause())
        else:
            future.result()

    session.incoming.subscribe(fail)
    running = one.start(session)
    await loop_turns(1)
    unheard: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
    try:
        if when == "within a chunk":
            one.line.arrive(text("x"))
        else:
            one.line.arrive(text("hold") + text("x"))
            one.line.arrive(text("y"))
            holds[0].dispose()
        await loop_turns()
    finally:
        one.line.reset()
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([running])
    assert not unheard
    assert ended == [rxws.Close(1001, "Going Away")]
    assert [each.opcode for each in one.line.frames] == [Op.CLOSE]


# --- the other parser --------------------------------------------------------------------------


@pytest.mark.skipif(
    isinstance(http.WebSocketReader.feed_data, type(text)), reason="this is the other parser"
)
def test_all_this_with_the_parser_in_pure_python() -> None:
    """aiohttp's parser without its extension does the same: this module passes with it, too."""
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
