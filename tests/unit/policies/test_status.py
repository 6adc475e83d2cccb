"""The values of `status`, and the order in which they may follow one another."""

from __future__ import annotations

from itertools import product

import pytest
from yarl import URL

from rxws._core.connection import Close, Handshake
from rxws._core.errors import ConnectError, ConnectionClosed, HandshakeError
from rxws.status import TRANSITIONS, Closed, Connecting, Open, Status, Waiting, follows, moved

HANDSHAKE = Handshake(URL("wss://peer.example/prices"), {})
ONE_OF_EACH: list[Status] = [
    Connecting(1),
    Open(HANDSHAKE),
    Waiting(1.0, ConnectError("nobody")),
    Closed(None),
]
ALLOWED = {
    ("Closed", "Connecting"),
    ("Closed", "Waiting"),
    ("Connecting", "Open"),
    ("Connecting", "Waiting"),
    ("Connecting", "Closed"),
    ("Open", "Closed"),
    ("Waiting", "Connecting"),
    ("Waiting", "Closed"),
}


@pytest.mark.parametrize(("before", "then"), [*product(ONE_OF_EACH, repeat=2)], ids=repr)
@pytest.mark.promise("status")
def test_transitions(before: Status, then: Status) -> None:
    """The documented transitions are allowed, and no others."""
    allowed = (type(before).__name__, type(then).__name__) in ALLOWED
    assert follows(then, before) is allowed
    if allowed:
        assert moved(before, then) is then
    else:
        with pytest.raises(RuntimeError, match="does not follow"):
            moved(before, then)


def test_every_status_has_transitions() -> None:
    """Every status has transitions from and to it."""
    kinds = {type(status) for status in ONE_OF_EACH}
    assert set(TRANSITIONS) == kinds
    assert set().union(*TRANSITIONS.values()) == kinds


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (Connecting(3), "Connecting, attempt 3"),
        (Open(HANDSHAKE), "Open wss://peer.example/prices"),
        (
            Open(Handshake(URL("wss://me:secret@peer.example/a?token=secret"), {})),
            "Open wss://peer.example/a",
        ),
        (
            Waiting(3.21, ConnectError("nobody listens")),
            "Waiting 3.2 s: ConnectError(nobody listens)",
        ),
        (
            Waiting(0.0, ConnectionClosed(Close(1006, by="network"))),
            "Waiting 0.0 s: ConnectionClosed(closed with 1006 by network)",
        ),
        (Waiting(0.0213, ConnectError("no")), "Waiting 0.021 s: ConnectError(no)"),
        (Closed(None), "Closed"),
        (Closed(Close(1000)), "Closed 1000 by local"),
        (Closed(Close(4001, "why", by="peer")), "Closed 4001 'why' by peer"),
        (
            Closed(None, HandshakeError("no", 401, {"X": "y"}, b"body")),
            "Closed: HandshakeError(no)",
        ),
        (
            Closed(None, ConnectError("line one\n  line two " + "x" * 300)),
            "Closed: ConnectError(line one line two " + "x" * 101 + "…)",
        ),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_repr(status: Status, text: str) -> None:
    """The repr of a status is one line without secrets and bodies."""
    assert repr(status) == text


def test_statuses_are_values() -> None:
    """Statuses are frozen and compare by value."""
    assert Connecting(1) == Connecting(1) != Connecting(2)
    assert Closed(Close(1000)) == Closed(Close(1000, by="peer"))
    with pytest.raises(AttributeError):
        Connecting(1).attempt = 2  # type: ignore[misc] # on purpose
