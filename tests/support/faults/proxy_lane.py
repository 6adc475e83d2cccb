"""One direction of a proxied connection: its pace and its cut."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from websockets.protocol import Side

from support.peers.decoder import Decoded, decode
from support.peers.frames import Op

BLANK = b"\r\n\r\n"  # ends the head of the handshake

CutKind = Literal["fin", "rst"]
Direction = Literal["up", "down"]  # from the client to the server, and back


@dataclass(frozen=True, slots=True)
class Cut:
    """Where to cut a connection, in both directions at once.

    Attributes:
        way: The direction whose bytes are counted.
        part: The part to cut: the "head" of the handshake, the "bytes" after it, or the
            "close" frame.
        count: How many bytes of that part to forward.
        how: FIN or RST.
    """

    way: Direction
    part: Literal["head", "bytes", "close"]
    count: int
    how: CutKind


@dataclass(frozen=True, slots=True)
class Pace:
    """The pace at which one direction forwards bytes.

    Attributes:
        size: The largest piece, in bytes; None forwards what arrives as it is.
        wait: The longest time between two pieces, in seconds; 0 is a turn of the loop.
        pieces: After this many pieces, forward the rest at once, so that a test ends.
    """

    size: int | None = None
    wait: float = 0.0
    pieces: int = 0


WHOLE = Pace()
PACES = [
    WHOLE,
    Pace(1, 0.0, 300),  # single bytes
    Pace(700, 0.0, 100),  # pieces of any size
    Pace(40, 0.002, 40),  # a trickle
    Pace(None, 0.01, 8),  # a delay
]


class ProxyLane:
    """One direction of a proxied connection.

    Attributes:
        received: The bytes received, from the head of the handshake on.
        forwarded: How many of them were forwarded.
        at_cut: How many had been received at the cut; None without a cut.
    """

    def __init__(self, way: Direction, pace: Pace, cut: Cut | None, rng: random.Random) -> None:
        self.way = way
        self.received = bytearray()
        self.forwarded = 0
        self.at_cut: int | None = None
        self.head_length = 0  # 0 until the head is whole
        self._pace = pace
        self._cut = cut if cut is not None and cut.way == way else None
        self._rng = rng
        self._pieces = 0
        self._frame = 0  # where the first frame starts that is not known to be whole
        self._close_at: int | None = None

    def take(self, data: bytes) -> None:
        """Record received bytes."""
        self.received += data
        if not self.head_length and BLANK in self.received:
            self.head_length = self._frame = self.received.index(BLANK) + len(BLANK)
        if self.head_length:
            self._find_close()

    def _find_close(self) -> None:
        data = self.received
        while self._close_at is None and self._frame < len(data):
            at = self._frame
            if data[at] & 0xF == Op.CLOSE:
                self._close_at = at
                return
            if (length := frame_length(data, at)) is None:
                return
            self._frame += length

    @property
    def limit(self) -> int | None:
        """The number of bytes before the cut; None if it is unknown yet, or never."""
        if self._cut is None:
            return None
        starts = {"head": 0, "bytes": self.head_length or None, "close": self._close_at}
        start = starts[self._cut.part]
        return None if start is None else start + self._cut.count

    def next_piece(self) -> tuple[int, float | None]:
        """Return how many bytes to forward next and how long to wait then; None for nothing."""
        waiting = len(self.received) - self.forwarded
        if self.limit is not None:
            waiting = min(waiting, self.limit - self.forwarded)
        pace = self._pace
        if self.forwarded < self.head_length or self._pieces >= pace.pieces:
            return waiting, None
        self._pieces += 1
        size = waiting if pace.size is None else self._rng.randint(1, pace.size)
        return min(size, waiting), self._rng.uniform(0, pace.wait)

    def passed(self, extension: str | None, count: int | None = None) -> Decoded:
        """Return what the first `count` bytes carry; by default the forwarded ones.

        `extension` is the extension that the handshake agreed on.
        """
        end = self.forwarded if count is None else count
        side = Side.SERVER if self.way == "up" else Side.CLIENT
        return decode(bytes(self.received[self.head_length : end]), side, extension)


def frame_length(data: bytes | bytearray, at: int) -> int | None:
    """Return the length of the frame that starts here; None while its header is incomplete."""
    if len(data) < at + 2:
        return None
    extra = {126: 2, 127: 8}.get(data[at + 1] & 0x7F, 0)
    if len(data) < at + 2 + extra:
        return None
    payload = int.from_bytes(data[at + 2 : at + 2 + extra], "big") if extra else data[at + 1] & 0x7F
    return 2 + extra + (4 if data[at + 1] & 0x80 else 0) + payload


def paces(rng: random.Random) -> Iterator[Pace]:
    """Return random paces; half of them change nothing."""
    while True:
        yield rng.choice(PACES) if rng.random() < 0.5 else WHOLE
