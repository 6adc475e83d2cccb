"""WebSocket frames as bytes (RFC 6455, section 5), for peers that can break any rule."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from enum import IntEnum


class Op(IntEnum):
    """The opcodes that RFC 6455 assigns; `frame` takes any other number, too."""

    CONT = 0x0
    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was read from the wire, unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True
    rsv: int = 0
    masked: bool = False

    @property
    def code(self) -> int | None:
        """The code of a close frame, None where the frame carries none."""
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
    """The bytes of one frame.

    `rsv` is 0..7 (4 is the bit of permessage-deflate), `claim` a length that lies.
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
    """The payload masked, or unmasked again."""
    if not payload:
        return b""
    pattern = (mask * (len(payload) // 4 + 1))[: len(payload)]
    joined = int.from_bytes(payload, "big") ^ int.from_bytes(pattern, "big")
    return joined.to_bytes(len(payload), "big")


def close_body(code: int | None = None, reason: str | bytes = b"") -> bytes:
    """The payload of a close frame; any 16 bit number passes as a code."""
    if code is None:
        return b""
    return code.to_bytes(2, "big") + (reason.encode() if isinstance(reason, str) else reason)


def new_mask() -> bytes:
    """A masking key, as every frame of a client needs one."""
    return os.urandom(4)


def deflate(payload: bytes) -> bytes:
    """The payload as permessage-deflate sends it (RFC 7692, 7.2.1), in a context of its own."""
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return (squeeze.compress(payload) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
        b"\x00\x00\xff\xff"
    )


class Decoder:
    """Takes bytes as they come and gives back the frames that are complete."""

    def __init__(self) -> None:
        self.rest = bytearray()  # not bytes: large frames come in many pieces

    def feed(self, data: bytes) -> list[Frame]:
        """Add bytes; the frames that they complete."""
        self.rest += data
        found: list[Frame] = []
        while (size := self._size()) is not None and len(self.rest) >= size[0] + size[1]:
            found.append(self._cut(*size))
        return found

    def _size(self) -> tuple[int, int] | None:
        """The length of the header and of the payload, None while the header is not complete."""
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
