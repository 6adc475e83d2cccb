"""Frames, at both ends (RFC 6455, sections 5, 7 and 8; RFC 7692)."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from integration.conformance.rfc_cases import OK, REFUSED, TAKEN
from support.peers.frames import Op, close_body, deflate, frame, new_mask
from support.peers.raw import Peer


@dataclass(frozen=True)
class Frames:
    """Frames from a peer, and how rxws must respond.

    Args:
        what: The description in the documentation.
        section: The section with the rule.
        verdict: One of the verdicts of `rfc_cases`.
        send: Builds the bytes for the peer.
        values: The delivered messages.
        code: The close code, or None if the connection stays open.
        deflate: Whether permessage-deflate is negotiated.
        at: The only end that receives the frames, "server" or "client"; None for both.
        pongs: The number of pongs that rxws sends.
    """

    what: str
    section: str
    verdict: str
    send: Callable[[Peer], bytes]
    values: tuple[str | bytes, ...] = ()
    code: int | None = None
    deflate: bool = False
    at: str | None = None
    pongs: int = 0


def _frames(
    *parts: tuple[int, bytes] | tuple[int, bytes, bool] | tuple[int, bytes, bool, int],
) -> Callable[[Peer], bytes]:
    """Build frames from tuples of opcode, payload, FIN (default: set) and RSV (default: 0)."""

    def send(peer: Peer) -> bytes:
        return b"".join(
            peer.build(
                part[0],
                part[1],
                fin=part[2] if len(part) > 2 else True,
                rsv=part[3] if len(part) > 3 else 0,
            )
            for part in parts
        )

    return send


def _overlong_length(payload: bytes, flag: int) -> Callable[[Peer], bytes]:
    """Build a binary frame with an overlong length encoding."""

    def send(peer: Peer) -> bytes:
        size = {126: 2, 127: 8}[flag]
        plain = peer.build(Op.BINARY, payload)
        length = bytes([plain[1] & 0x80 | flag]) + len(payload).to_bytes(size, "big")
        return plain[:1] + length + plain[2 if len(payload) < 126 else 4 :]

    return send


def _wrongly_masked(peer: Peer) -> bytes:
    return frame(Op.TEXT, b"hi", mask=None if peer.masks else new_mask())


def _compressed(payload: bytes, level: int = -1, final: bool = False) -> bytes:
    squeeze = zlib.compressobj(level, wbits=-zlib.MAX_WBITS)
    data = squeeze.compress(payload)
    if final:
        return data + squeeze.flush(zlib.Z_FINISH) + b"\x00"
    return (data + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(b"\x00\x00\xff\xff")


_EURO = "€".encode()
_BAD_UTF8 = {
    "a lone continuation byte": b"\x80",
    "a byte that is not allowed in UTF-8": b"\xff",
    "an overlong slash": b"\xc0\xaf",
    "an overlong NUL": b"\xe0\x80\x80",
    "a surrogate": b"\xed\xa0\x80",
    "a code point above U+10FFFF": b"\xf4\x90\x80\x80",
    "an incomplete last character": _EURO[:2],
    "an incomplete character": _EURO[:2] + b"a",
}
_HALF = deflate(b"half" * 10)

FRAMES = [
    # messages and their lengths
    *(
        Frames(
            f"a {name} of {length} bytes",
            "5.2",
            OK,
            _frames((opcode, b"x" * length)),
            ("x" * length if opcode == Op.TEXT else b"x" * length,),
        )
        for opcode, name in ((Op.TEXT, "text message"), (Op.BINARY, "binary message"))
        for length in (0, 125, 126, 127, 128, 65535, 65536)
    ),
    Frames(
        "a payload length of 2, encoded in 16 bits",
        "5.2",
        TAKEN,
        _overlong_length(b"ab", 126),
        (b"ab",),
    ),
    Frames(
        "a payload length of 2, encoded in 64 bits",
        "5.2",
        TAKEN,
        _overlong_length(b"ab", 127),
        (b"ab",),
    ),
    Frames(
        "a payload length of 200, encoded in 64 bits",
        "5.2",
        TAKEN,
        _overlong_length(bytes(200), 127),
        (bytes(200),),
    ),
    Frames(
        "a payload length with the highest bit set",
        "5.2",
        REFUSED,
        lambda peer: frame(Op.BINARY, mask=new_mask() if peer.masks else None, claim=1 << 63),
        code=1009,
    ),
    # masking
    Frames(
        "an unmasked frame from a client",
        "5.1",
        TAKEN,
        _wrongly_masked,
        ("hi",),
        at="server",
    ),
    Frames("a masked frame from a server", "5.1", TAKEN, _wrongly_masked, ("hi",), at="client"),
    # reserved bits and opcodes
    *(
        Frames(
            f"reserved bits {rsv:03b}",
            "5.2",
            REFUSED,
            _frames((Op.TEXT, b"x", True, rsv)),
            code=1002,
        )
        for rsv in range(1, 8)
    ),
    *(
        Frames(
            f"reserved bits {rsv:03b} with permessage-deflate",
            "5.2",
            REFUSED,
            _frames((Op.TEXT, b"x", True, rsv)),
            code=1002,
            deflate=True,
        )
        for rsv in (1, 2, 3, 5, 6, 7)
    ),
    *(
        Frames(f"opcode {opcode}", "5.2", REFUSED, _frames((opcode, b"x")), code=1002)
        for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)
    ),
    # fragments
    Frames(
        "a text message in three fragments",
        "5.4",
        OK,
        _frames((Op.TEXT, b"a", False), (Op.CONT, b"b", False), (Op.CONT, b"c")),
        ("abc",),
    ),
    Frames(
        "empty fragments",
        "5.4",
        OK,
        _frames((Op.TEXT, b"", False), (Op.CONT, b"", False), (Op.CONT, b"")),
        ("",),
    ),
    Frames(
        "control frames between fragments",
        "5.4",
        OK,
        _frames((Op.TEXT, b"a", False), (Op.PING, b"p"), (Op.PONG, b"q"), (Op.CONT, b"b")),
        ("ab",),
        pongs=1,
    ),
    Frames(
        "a continuation frame without a message",
        "5.4",
        REFUSED,
        _frames((Op.CONT, b"x")),
        code=1002,
    ),
    Frames(
        "a continuation frame without a message, not final",
        "5.4",
        REFUSED,
        _frames((Op.CONT, b"x", False), (Op.CONT, b"y")),
        code=1002,
    ),
    Frames(
        "a continuation frame after a complete message",
        "5.4",
        REFUSED,
        _frames((Op.TEXT, b"a"), (Op.CONT, b"b")),
        ("a",),
        1002,
    ),
    Frames(
        "a complete message between fragments",
        "5.4",
        REFUSED,
        _frames((Op.TEXT, b"a", False), (Op.TEXT, b"b")),
        code=1002,
    ),
    Frames(
        "a first fragment between fragments",
        "5.4",
        REFUSED,
        _frames((Op.TEXT, b"a", False), (Op.BINARY, b"b", False)),
        code=1002,
    ),
    # control frames
    *(
        Frames(
            f"a {name} of {length} bytes",
            "5.5",
            OK,
            _frames((opcode, b"x" * length)),
            pongs=int(opcode == Op.PING),
        )
        for opcode, name in ((Op.PING, "ping"), (Op.PONG, "pong"))
        for length in (0, 125)
    ),
    *(
        Frames(
            f"a {name} of 126 bytes",
            "5.5",
            REFUSED,
            _frames((opcode, b"\x03\xe8" + b"x" * 124)),
            code=1002,
        )
        for opcode, name in ((Op.PING, "ping"), (Op.PONG, "pong"), (Op.CLOSE, "close frame"))
    ),
    *(
        Frames(
            f"a {name} in fragments",
            "5.5",
            REFUSED,
            _frames((opcode, b"\x03\xe8", False)),
            code=1002,
        )
        for opcode, name in ((Op.PING, "ping"), (Op.PONG, "pong"), (Op.CLOSE, "close frame"))
    ),
    *(
        Frames(
            f"a {name} with the compression bit set",
            "7692 6.1",
            TAKEN,
            _frames((opcode, b"x", True, 4)),
            deflate=True,
            pongs=int(opcode == Op.PING),
        )
        for opcode, name in ((Op.PING, "ping"), (Op.PONG, "pong"))
    ),
    Frames(
        "a close frame with the compression bit set",
        "7692 6.1",
        TAKEN,
        _frames((Op.CLOSE, close_body(1000), True, 4)),
        code=1000,
        deflate=True,
    ),
    # text
    Frames(
        "a character split across two fragments",
        "5.6",
        OK,
        _frames((Op.TEXT, _EURO[:1], False), (Op.CONT, _EURO[1:])),
        ("€",),
    ),
    Frames(
        "U+0000, U+FFFF, U+10FFFF",
        "8.1",
        OK,
        _frames((Op.TEXT, "\0\uffff\U0010ffff".encode())),
        ("\0\uffff\U0010ffff",),
    ),
    *(
        Frames(f"a text message with {what}", "8.1", REFUSED, _frames((Op.TEXT, data)), code=1007)
        for what, data in _BAD_UTF8.items()
    ),
    Frames(
        "a text message with invalid UTF-8 in its second fragment",
        "8.1",
        REFUSED,
        _frames((Op.TEXT, b"a", False), (Op.CONT, b"\xff")),
        code=1007,
    ),
    Frames(
        "a binary message that is not UTF-8", "5.6", OK, _frames((Op.BINARY, b"\xff")), (b"\xff",)
    ),
    # the closing handshake
    Frames("an empty close frame", "5.5.1", OK, _frames((Op.CLOSE, b"")), code=1005),
    Frames("a close frame of one byte", "5.5.1", REFUSED, _frames((Op.CLOSE, b"\x03")), code=1002),
    Frames(
        "a close frame with a reason of 123 bytes",
        "5.5.1",
        OK,
        _frames((Op.CLOSE, close_body(1000, "x" * 123))),
        code=1000,
    ),
    *(
        Frames(
            f"a reason with {what}",
            "5.5.1",
            REFUSED,
            _frames((Op.CLOSE, close_body(1000, data))),
            code=1007,
        )
        for what, data in _BAD_UTF8.items()
    ),
    *(
        Frames(f"close code {code}", "7.4", OK, _frames((Op.CLOSE, close_body(code))), code=code)
        for code in (
            1000,
            1001,
            1002,
            1003,
            1007,
            1008,
            1009,
            1010,
            1011,
            1012,
            1013,
            1014,
            3000,
            3999,
            4000,
            4999,
        )
    ),
    *(
        Frames(
            f"close code {code}", "7.4", REFUSED, _frames((Op.CLOSE, close_body(code))), code=1002
        )
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    ),
    Frames(
        "messages, pings and a second close frame after a close frame: ignored",
        "5.5.1",
        OK,
        _frames(
            (Op.CLOSE, close_body(1000)),
            (Op.TEXT, b"x"),
            (Op.PING, b"x"),
            (Op.CLOSE, close_body(4000)),
        ),
        code=1000,
    ),
    Frames(
        "a close frame between fragments",
        "5.4",
        OK,
        _frames((Op.TEXT, b"a", False), (Op.CLOSE, close_body(1000))),
        code=1000,
    ),
    # compression
    Frames(
        "a compressed message",
        "7692 7.2.2",
        OK,
        _frames((Op.TEXT, deflate(b"a" * 1000), True, 4)),
        ("a" * 1000,),
        deflate=True,
    ),
    Frames(
        "an uncompressed message with permessage-deflate",
        "7692 6",
        OK,
        _frames((Op.TEXT, b"plain")),
        ("plain",),
        deflate=True,
    ),
    Frames(
        "an empty compressed message",
        "7692 7.2.3.6",
        OK,
        _frames((Op.TEXT, b"\x00", True, 4)),
        ("",),
        deflate=True,
    ),
    Frames(
        "a compressed message in fragments",
        "7692 6.1",
        OK,
        _frames((Op.TEXT, _HALF[:3], False, 4), (Op.CONT, _HALF[3:])),
        ("half" * 10,),
        deflate=True,
    ),
    Frames(
        "a stored block",
        "7692 7.2.3.3",
        OK,
        _frames((Op.TEXT, _compressed(b"stored", 0), True, 4)),
        ("stored",),
        deflate=True,
    ),
    Frames(
        "a block with the final bit set",
        "7692 7.2.3.4",
        OK,
        _frames((Op.TEXT, _compressed(b"final", final=True), True, 4)),
        ("final",),
        deflate=True,
    ),
    Frames(
        "a later fragment with the compression bit set",
        "7692 6.1",
        REFUSED,
        _frames((Op.TEXT, _HALF[:3], False, 4), (Op.CONT, _HALF[3:], True, 4)),
        code=1002,
        deflate=True,
    ),
    Frames(
        "a compressed text message that is not UTF-8",
        "8.1",
        REFUSED,
        _frames((Op.TEXT, deflate(b"\xff"), True, 4)),
        code=1007,
        deflate=True,
    ),
    Frames(
        "invalid compressed data",
        "7692 7.2.2",
        REFUSED,
        _frames((Op.BINARY, b"\xff\xff\xff\xff", True, 4)),
        code=1007,
        deflate=True,
    ),
]
