"""Encode and decode WebSocket frames (RFC 6455, section 5), valid and invalid."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from enum import IntEnum


class Op(IntEnum):
    """The opcodes of RFC 6455; `frame` accepts other numbers, too."""

    CONT = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


@dataclass(frozen=True, slots=True)
class Frame:
    """One received frame, unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False

    @property
    def code(self) -> int | None:
        """The code of a close frame; None if it carries none."""
        assert self.opcode == Op.CLOSE, self
        return int.from_bytes(self.payload[:2], "big") if self.payload else None

    @property
    def reason(self) -> str:
        """The reason of a close frame."""
        assert self.opcode == Op.CLOSE, self
        return self.payload[2:].decode()


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    mask: bytes | None = None,
    claim: int | None = None,
) -> bytes:
    """Encode one frame.

    `rsv` is 0..7 (4 is the bit of permessage-deflate), `claim` a wrong length.
    """
    length = len(payload) if claim is None else claim
    masked = 0 if mask is None else 0x80
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if length < 126:
        head += bytes([masked | length])
    elif length < 1 << 16:
        head += bytes([masked | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([masked | 127]) + length.to_bytes(8, "big")
    return head + payload if mask is None else head + mask + apply_mask(payload, mask)


def apply_mask(payload: bytes, mask: bytes) -> bytes:
    """Mask or unmask a payload."""
    if not payload:
        return b""
    pattern = (mask * (len(payload) // 4 + 1))[: len(payload)]
    joined = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return joined.to_bytes(len(payload), "big")


def close_body(code: int | None = None, reason: str | bytes = b"") -> bytes:
    """Return the payload of a close frame; any 16-bit code is accepted."""
    if code is None:
        return b""
    return code.to_bytes(2, "big") + (reason.encode() if isinstance(reason, str) else reason)


def new_mask() -> bytes:
    """Return a random masking key."""
    return os.urandom(4)


def deflate(payload: bytes) -> bytes:
    """Compress a payload as permessage-deflate does (RFC 7692, 7.2.1), without context takeover."""
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\x00\x00\xff\xff"
    )


class Decoder:
    """Decode frames from chunks of bytes."""

    def __init__(self) -> None:
        self.rest = bytearray()  # not bytes: large frames come in many pieces

    def feed(self, data: bytes) -> list[Frame]:
        """Add bytes, and return the frames that they complete."""
        self.rest += data
        found: list[Frame] = []
        while (size := self._size()) is not None and len(self.rest) >= size[0] + size[1]:
            found.append(self._cut(*size))
        return found

    def _size(self) -> tuple[int, int] | None:
        """Return the lengths of header and payload; None while the header is incomplete."""
        if len(self.rest) < 2:
            return None
        flag = self.rest[1] & 0x7F
        extra = {126: 2, 127: 8}.get(flag, 0)
        header = 2 + extra + (4 if self.rest[1] & 0x80 else 0)
        if len(self.rest) < header:
            return None
        return header, int.from_bytes(self.rest[2 : 2 + extra], "big") if extra else flag

    def _cut(self, header: int, length: int) -> Frame:
        first, masked = self.rest[0], bool(self.rest[1] & 0x80)
        payload = bytes(self.rest[header : header + length])
        if masked:
            payload = apply_mask(payload, bytes(self.rest[header - 4 : header]))
        del self.rest[: header + length]
        return Frame(first & 0x0F, payload, bool(first & 0x80), first >> 4 & 0x7, masked)
