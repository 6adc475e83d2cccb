"""The key of `overflow.latest`: when it fails, and what it leaves when there is no room."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest
from rig import Rig

from rxws import EncodeError, codecs
from rxws._core.frames import Frame, Opcode
from rxws._session.send_buffer import ConflatingSendBuffer
from rxws.overflow import OVERHEAD, Overflow, latest

KIB = 1024
ROOM = 4 * KIB


def behind(policy: Overflow, **options: Any) -> Rig:
    """A connection whose peer takes nothing; one frame is on its way to it."""
    options.setdefault("max_buffer", ROOM)
    rig = Rig(watch=True, overflow=policy, send_timeout=1e6, **options)
    rig.peer.stop()
    rig.conn.outgoing.on_next("leaving")
    return rig


def kib(name: object) -> str:
    """A message that costs 1 KiB."""
    return f"{name}".ljust(KIB - OVERHEAD)


def fail(*_: object) -> NoReturn:
    raise ArithmeticError("mine")


@pytest.mark.parametrize("key", [fail, lambda value: [value]], ids=["raises", "unhashable"])
def test_a_key_that_fails_is_a_fault_and_the_stream_goes_on(key: Any) -> None:
    """An EncodeError with the value and the cause; the message is not sent."""
    rig = Rig(watch=True, overflow=latest(lambda value: key(value) if value == "bad" else value))
    errors = rig.watch(rig.conn.errors)
    shown = rig.watch(rig.conn.outgoing)
    for value in ("a", "bad", "b"):
        rig.conn.outgoing.on_next(value)
    [error] = errors.values
    assert isinstance(error, EncodeError)
    assert error.value == "bad"
    assert isinstance(error.__cause__, ArithmeticError | TypeError)
    assert "key" in str(error)
    assert rig.messages == shown.values == ["a", "b"]


def test_a_key_that_fails_unobserved_closes_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    """As every fault; logged once."""
    rig = Rig(watch=True, overflow=latest(fail))
    rig.conn.outgoing.on_next("bad")
    assert rig.close_frame.code == 1011
    assert isinstance(rig.incoming.error and rig.incoming.error.__cause__, EncodeError)
    assert len(caplog.records) == 1


class Peculiar:
    """A key that can be hashed and not compared."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        raise ArithmeticError("not comparable")


def test_a_key_that_cannot_be_compared_is_a_fault() -> None:
    """No other than one that cannot be hashed."""
    rig = behind(latest(lambda _: Peculiar()))
    errors = rig.watch(rig.conn.errors)
    rig.conn.outgoing.on_next("a")
    rig.conn.outgoing.on_next("b")
    assert [type(error) for error in errors.values] == [EncodeError]


def test_a_message_that_cannot_be_encoded_replaces_nothing() -> None:
    """What waited under its key still waits."""
    rig = behind(latest(), codec=codecs.text)
    errors = rig.watch(rig.conn.errors)
    rig.conn.outgoing.on_next("good")
    rig.conn.outgoing.on_next("\ud800")
    rig.peer.go()
    assert rig.messages == ["leaving", "good"]
    assert len(errors.values) == 1


def test_many_keys_are_bounded() -> None:
    """The key that waits longest makes room, counted as an overflow, not as conflated."""
    rig = behind(latest(hash), max_buffer=10 * OVERHEAD)
    for number in range(100):
        rig.conn.outgoing.on_next(chr(0x100 + number))
    waiting = len(rig.session.flow.outbox)
    assert rig.dropped == {"overflow": 100 - waiting}
    rig.peer.go()
    assert rig.messages[1:] == [chr(0x100 + number) for number in range(100 - waiting, 100)]


def test_the_newest_value_of_a_key_is_not_what_makes_room() -> None:
    """Older ones of other keys are, as long as there are any."""
    rig = behind(latest(lambda value: value[0]))
    rig.conn.outgoing.on_next("a")
    rig.conn.outgoing.on_next(kib("b"))
    rig.conn.outgoing.on_next("a" * (ROOM - 200))
    rig.peer.go()
    assert "a" * (ROOM - 200) in rig.messages


def test_a_conflating_outbox_that_is_cleared_starts_afresh() -> None:
    """A key of before replaces nothing."""
    outbox = ConflatingSendBuffer()
    outbox.put(Frame(Opcode.TEXT, b"1"), "k")
    assert outbox.clear() == 1
    assert outbox.put(Frame(Opcode.TEXT, b"2"), "k") == 0
