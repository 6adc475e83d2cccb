"""The queue of what goes out."""

from __future__ import annotations

from rxws._core.frames import Frame, Opcode
from rxws._session.send_buffer import ConflatingSendBuffer, SendBuffer


def text(payload: bytes) -> Frame:
    return Frame(Opcode.TEXT, payload)


def close(payload: bytes = b"") -> Frame:
    return Frame(Opcode.CLOSE, payload)


def drain(outbox: SendBuffer) -> list[Frame]:
    return list(iter(outbox.take, None))


def test_messages_leave_in_order() -> None:
    """First in, first out."""
    outbox = SendBuffer()
    frames = [text(b"1"), Frame(Opcode.BINARY, b"2"), text(b"3")]
    for frame in frames:
        outbox.put(frame)
    assert drain(outbox) == frames
    assert outbox.take() is None


def test_it_knows_how_much_waits() -> None:
    """In messages, in bytes, and in bytes with 128 more for each message."""
    outbox = SendBuffer()
    assert (len(outbox), outbox.bytes, outbox.cost) == (0, 0, 0)
    outbox.put(text(b"abc"))
    outbox.put(text(b""))
    assert (len(outbox), outbox.bytes, outbox.cost) == (2, 3, 3 + 2 * 128)
    outbox.take()
    assert (len(outbox), outbox.bytes, outbox.cost) == (1, 0, 128)


def test_control_frames_overtake_messages() -> None:
    """A peer that waits for a pong does not wait behind a megabyte."""
    outbox = SendBuffer()
    outbox.put(text(b"1"))
    outbox.ping, outbox.pong = b"i", b"o"
    assert drain(outbox) == [Frame(Opcode.PONG, b"o"), Frame(Opcode.PING, b"i"), text(b"1")]


def test_only_the_latest_ping_is_answered() -> None:
    """RFC 6455, section 5.5.3; an empty payload is a payload."""
    outbox = SendBuffer()
    outbox.pong = b"first"
    outbox.pong = b""
    assert drain(outbox) == [Frame(Opcode.PONG, b"")]


def test_the_close_frame_follows_all_messages_and_nothing_follows_it() -> None:
    """RFC 6455, section 5.5.1."""
    outbox = SendBuffer()
    outbox.seal(close(b"1"))
    outbox.put(text(b"m"))
    assert drain(outbox) == [text(b"m"), close(b"1")]
    outbox.put(text(b"late"))
    outbox.ping, outbox.pong = b"i", b"o"
    outbox.seal(close(b"2"))
    assert drain(outbox) == []


def test_a_close_frame_that_has_not_left_can_be_replaced() -> None:
    """The peer's close, say, wants another answer."""
    outbox = SendBuffer()
    outbox.seal(close(b"1"))
    outbox.seal(close(b"2"))
    assert drain(outbox) == [close(b"2")]


def test_what_is_thrown_away_is_all_that_waits() -> None:
    """A close frame that had not left, too: nobody is told of it any more."""
    for outbox in (SendBuffer(), ConflatingSendBuffer()):
        assert outbox.clear() == 0
        outbox.put(text(b"1"), "a")
        outbox.put(text(b"2"), "b")
        outbox.ping = outbox.pong = b"x"
        outbox.seal(close())
        assert outbox.clear() == 2
        assert (len(outbox), outbox.cost) == (0, 0)
        assert drain(outbox) == []
        assert not outbox.taken
