"""Valid WebSocket sessions as bytes, and mutations of them.

Each is made from a number, which reproduces a failure: `mutant(17, masks=True)`.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

from support.peers.frames import Op, close_body, frame

LIMIT = 4096  # max_message_size of those who are fed mutants: so small that lengths go beyond it
CODES = (None, 1000, 1001, 1002, 1007, 1011, 3000, 4001, 4999)
WORDS = (
    "",
    "a",
    "été",
    "\U0001d54ford",
    "plain text, and some of it more than once, more than once",
)


@dataclass(frozen=True, slots=True)
class Piece:
    """One frame, not encoded yet."""

    opcode: int
    payload: bytes = b""
    fin: bool = True
    rsv: int = 0
    mask: bytes | None = None
    claim: int | None = None  # a length that lies

    @property
    def data(self) -> bytes:
        """Its bytes."""
        return frame(
            self.opcode,
            self.payload,
            fin=self.fin,
            rsv=self.rsv,
            mask=self.mask,
            claim=self.claim,
        )


@dataclass(frozen=True, slots=True)
class Mutant:
    """A stream of bytes.

    Attributes:
        number: The seed.
        chunks: The bytes of each write.
        due: The complete messages before the first mutation. Every receiver must emit them.
        kinds: The mutations.
    """

    number: int
    chunks: tuple[bytes, ...]
    due: tuple[str | bytes, ...]
    kinds: tuple[str, ...]

    @property
    def data(self) -> bytes:
        """All bytes."""
        return b"".join(self.chunks)


def digest(messages: tuple[str | bytes, ...] | list[str | bytes]) -> int:
    """Return a checksum of messages, their order and their types."""
    found = 0
    for each in messages:
        kind, data = (b"t", each.encode()) if isinstance(each, str) else (b"b", each)
        found = zlib.crc32(kind + len(data).to_bytes(4, "big") + data, found)
    return found


# --- valid sessions ---------------------------------------------------------------------------


class SessionWriter:
    """Write valid sessions.

    Args:
        rng: The random numbers.
        masks: Whether to mask frames, as a client does.
        deflate: Whether messages may be compressed, with context takeover.
    """

    def __init__(self, rng: random.Random, masks: bool, deflate: bool) -> None:
        self.rng = rng
        self.masks = masks
        self.squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS) if deflate else None
        self.pieces: list[Piece] = []
        self.ends: list[tuple[int, str | bytes]] = []  # after how many pieces which message is due

    def add(self, opcode: int, payload: bytes, fin: bool = True, rsv: int = 0) -> None:
        mask = self.rng.randbytes(4) if self.masks else None
        self.pieces.append(Piece(opcode, payload, fin, rsv, mask))

    def control(self) -> None:
        self.add(self.rng.choice([Op.PING, Op.PONG]), self.rng.randbytes(self.rng.choice([0, 125])))

    def message(self) -> None:
        rng = self.rng
        if rng.random() < 0.6:
            value: str | bytes = "".join(rng.choices(WORDS, k=rng.choice([1, 1, 3, 40])))
        else:
            value = rng.randbytes(rng.choice([0, 1, 125, 126, 200, 1000, LIMIT]))
        opcode = Op.TEXT if isinstance(value, str) else Op.BINARY
        data = value.encode() if isinstance(value, str) else value
        rsv = 0
        if self.squeeze is not None and rng.random() < 0.7:
            data = self.squeeze.compress(data) + self.squeeze.flush(zlib.Z_SYNC_FLUSH)
            data, rsv = data.removesuffix(b"\x00\x00\xff\xff"), 4
        cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice([0, 0, 0, 1, 3])))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        for number, part in enumerate(parts):
            self.add(opcode if number == 0 else Op.CONT, part, number == len(parts) - 1, rsv)
            rsv = 0
            if number < len(parts) - 1 and rng.random() < 0.3:
                self.control()
        self.ends.append((len(self.pieces), value))

    def session(self) -> None:
        for _ in range(self.rng.randint(1, 8)):
            self.control() if self.rng.random() < 0.2 else self.message()
        if self.rng.random() < 0.6:
            code = self.rng.choice(CODES)
            self.add(Op.CLOSE, close_body(code, "" if code is None else self.rng.choice(WORDS)))


# --- what is done to them ---------------------------------------------------------------------

# To the frames: what is changed in which of them, and what stands there instead.
FrameChange = Callable[[random.Random, Piece], list[Piece]]
# To the bytes: where it is changed, and what follows from there.
ByteChange = Callable[[random.Random, bytes], tuple[int, bytes]]


def foreign(rng: random.Random, piece: Piece) -> list[Piece]:
    """Insert a random frame."""
    stray = Piece(rng.randrange(16), rng.randbytes(rng.randrange(140)), rng.random() < 0.5)
    return [replace(stray, rsv=rng.choice([0, 0, 4, 7]), mask=piece.mask), piece]


def broken_payload(rng: random.Random, piece: Piece) -> list[Piece]:
    """Replace the payload by bytes that are neither UTF-8 nor deflate data."""
    at = rng.randint(0, len(piece.payload))
    bad = rng.choice([b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", rng.randbytes(9)])
    return [replace(piece, payload=piece.payload[:at] + bad + piece.payload[at:])]


def wrong_length(rng: random.Random, piece: Piece) -> list[Piece]:
    """Change the length in the header."""
    length = len(piece.payload)
    choices = [0, max(length - 1, 0), length + 1, 126, LIMIT + 1, 65536, 1 << 31, 1 << 63]
    return [replace(piece, claim=rng.choice([*choices, (1 << 64) - 1]))]


FRAME_CHANGES: dict[str, FrameChange] = {
    "duplicated": lambda _, piece: [piece, piece],
    "dropped": lambda _, __: [],
    "inserted": foreign,
    "reserved bits": lambda rng, piece: [replace(piece, rsv=rng.randint(1, 7))],
    "opcode": lambda rng, piece: [replace(piece, opcode=rng.randrange(16))],
    "unfinished": lambda _, piece: [replace(piece, fin=not piece.fin)],
    "wrong length": wrong_length,
    "broken payload": broken_payload,
    "close code": lambda rng, piece: [
        replace(piece, opcode=Op.CLOSE, fin=True, payload=rng.randbytes(rng.choice([1, 2, 2, 9])))
    ],
}


def flipped(rng: random.Random, data: bytes) -> tuple[int, bytes]:
    at = rng.randrange(len(data))
    return at, bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def noise(rng: random.Random, data: bytes) -> tuple[int, bytes]:
    at = rng.randrange(len(data))
    return at, rng.randbytes(rng.randint(1, 64)) + data[at:]


def cut_out(rng: random.Random, data: bytes) -> tuple[int, bytes]:
    at = rng.randrange(len(data))
    return at, data[at + rng.randint(1, 16) :]


def truncated(rng: random.Random, data: bytes) -> tuple[int, bytes]:
    return rng.randrange(len(data)), b""


def random_rest(rng: random.Random, data: bytes) -> tuple[int, bytes]:
    return rng.choice([0, rng.randrange(len(data))]), rng.randbytes(rng.randint(1, 2000))


BYTE_CHANGES: dict[str, ByteChange] = {
    "flipped": flipped,
    "noise": noise,
    "cut out": cut_out,
    "truncated": truncated,
    "random rest": random_rest,
}


def mutant(number: int, *, masks: bool, deflate: bool) -> Mutant:
    """Return mutant `number`; every 16th is an unchanged valid session."""
    rng = random.Random(f"{number} {masks} {deflate}")
    author = SessionWriter(rng, masks, deflate)
    author.session()
    pieces, sound, kinds = author.pieces, len(author.pieces), list[str]()
    changes = 0 if number % 16 == 0 else rng.choice([1, 1, 1, 2, 5])
    by_bytes = 0
    for _ in range(changes):
        if rng.random() < 0.5 or not pieces:
            by_bytes += 1
            continue
        name = rng.choice(list(FRAME_CHANGES))
        at = rng.randrange(len(pieces))
        pieces = [*pieces[:at], *FRAME_CHANGES[name](rng, pieces[at]), *pieces[at + 1 :]]
        kinds.append(name)
        sound = min(sound, at)
    data = b"".join(piece.data for piece in pieces)
    offsets = [0]
    for piece in pieces[:sound]:
        offsets.append(offsets[-1] + len(piece.data))
    untouched = offsets[-1]
    for _ in range(by_bytes if data else 0):
        name = rng.choice(list(BYTE_CHANGES))
        at, rest = BYTE_CHANGES[name](rng, data)
        untouched = min(untouched, at)
        data = data[:at] + rest
        kinds.append(name)
        if not data:
            break
    due = tuple(value for end, value in author.ends if end <= sound and offsets[end] <= untouched)
    return Mutant(number, chunked(rng, data), due, tuple(kinds))


def chunked(rng: random.Random, data: bytes) -> tuple[bytes, ...]:
    """Split the bytes into a random number of writes."""
    if rng.random() < 0.02:
        return (*(data[at : at + 1] for at in range(min(len(data), 200))), data[200:])
    cuts = sorted(rng.randint(0, len(data)) for _ in range(rng.choice([0, 0, 1, 2])))
    return tuple(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True))
