"""The messages on the channel of a topic: a letter, a header line, and the payload."""

from __future__ import annotations

import json

from rxws.hub._backplane import Member, Publication
from rxws.hub._messages import Position

__all__ = [
    "decode_member",
    "decode_numbered",
    "decode_unnumbered",
    "encode_member",
    "encode_unnumbered",
    "kind_of",
    "payload_of",
]

TEXT, BINARY = b"s", b"b"
UNNUMBERED_TEXT, UNNUMBERED_BINARY = b"S", b"B"
JOINED, LEFT = b"j", b"l"


def kind_of(payload: str | bytes) -> bytes:
    """Return the letter of a payload's type."""
    return TEXT if isinstance(payload, str) else BINARY


def payload_of(kind: bytes, data: bytes) -> str | bytes:
    """Return a payload of the type that a letter stands for."""
    return data.decode() if kind.lower() == TEXT else data


def decode_numbered(data: bytes) -> Publication:
    """Read `<kind><epoch>:<offset>`, a newline, and the payload."""
    head, _, payload = data.partition(b"\n")
    epoch, _, offset = head[1:].partition(b":")
    return Publication(payload_of(head[:1], payload), Position(epoch.decode(), int(offset)))


def encode_unnumbered(process: str, payload: str | bytes) -> bytes:
    """Write `<kind><process>`, a newline, and the payload."""
    if isinstance(payload, str):
        return UNNUMBERED_TEXT + process.encode() + b"\n" + payload.encode()
    return UNNUMBERED_BINARY + process.encode() + b"\n" + payload


def decode_unnumbered(data: bytes) -> tuple[str, Publication]:
    """Return the publishing process and its message."""
    head, _, payload = data.partition(b"\n")
    return head[1:].decode(), Publication(payload_of(head[:1], payload), None)


def encode_member(member: Member) -> str:
    """Write a member as JSON."""
    return json.dumps(member, separators=(",", ":"))


def decode_member(data: bytes) -> Member:
    """Read what `encode_member` has written."""
    return Member(*json.loads(data))
