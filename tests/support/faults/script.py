"""Scripts of connections that are cut at random: who sends what, and where the cut is.

The seed decides all of a `Script`, so it reproduces a failure.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Literal

import rxws
from support.faults.proxy_lane import Cut, CutKind, Direction, Pace, paces

End = Literal["server", "client"]

PEERS = {"server": ["raw", "websockets"], "client": ["raw", "websockets", "aiohttp"]}
OURS = [rxws.Close(4001, "why"), rxws.Close(1000), rxws.Close(4999)]
THEIRS = [1001, 1011, 4002, None]
MIB = 1 << 20


@dataclass(frozen=True)
class Script:
    """The script of one connection.

    Attributes:
        end: What rxws is: "server" or "client".
        peer: The implementation of the peer.
        compress: Whether to use permessage-deflate.
        echoes: Whether rxws echoes messages; otherwise it sends `outbound`.
        inbound: The peer's messages, each as fragments.
        outbound: The messages of rxws.
        bursts: After how many messages the peer yields to the loop.
        holds: For how many turns rxws pauses the flow at every third message.
        asks: After how many incoming messages rxws closes; None for never.
        ours: The close of rxws.
        peer_closes: Whether the peer closes after its last message.
        theirs: The code of that close.
        cut: Where to cut.
        late: How to cut after the last message, if there was no cut before.
        slow: Whether the kernel's buffers are small.
    """

    seed: int
    end: End
    peer: str
    compress: bool
    echoes: bool
    inbound: list[list[str] | list[bytes]]
    outbound: list[str | bytes]
    bursts: int
    holds: int
    asks: int | None
    ours: rxws.Close
    peer_closes: bool
    theirs: int | None
    cut: Cut
    late: CutKind
    up: Pace
    down: Pace
    slow: bool

    @property
    def way_in(self) -> Direction:
        """The direction of incoming messages."""
        return "up" if self.end == "server" else "down"

    @property
    def way_out(self) -> Direction:
        """The direction of outgoing messages."""
        return "down" if self.end == "server" else "up"

    @property
    def messages(self) -> list[str | bytes]:
        """The peer's messages."""
        return [join_fragments(pieces) for pieces in self.inbound]

    def __str__(self) -> str:
        closes = [f"ours {self.ours} after {self.asks}"] if self.asks is not None else []
        closes += [f"theirs {self.theirs}"] if self.peer_closes else []
        return (
            f"seed {self.seed}: rxws as {self.end}, peer {self.peer}, "
            f"{'deflate, ' if self.compress else ''}{'slow, ' if self.slow else ''}"
            f"{f'holds {self.holds}, ' if self.holds else ''}"
            f"in {[len(join_fragments(one)) for one in self.inbound]}, "
            f"out {'echoes' if self.echoes else [len(one) for one in self.outbound]}, "
            f"closes {closes or 'nobody'}, {self.cut}, late {self.late}, "
            f"up {self.up}, down {self.down}"
        )


def join_fragments(pieces: list[str] | list[bytes]) -> str | bytes:
    """Join the fragments of a message."""
    empty: Any = pieces[0][:0]
    whole: str | bytes = empty.join(pieces)
    return whole


def random_script(seed: int, end: End | None = None, peer: str | None = None) -> Script:
    """Return the script of this seed."""
    rng = random.Random(seed)
    drawn: End = rng.choice(["server", "client"])
    end = end or drawn
    kind = rng.choice(PEERS[end])
    peer = peer or kind
    compress = rng.random() < 0.4
    heavy = rng.random() < 0.04
    echoes = not heavy and rng.random() < 0.4
    closer = rng.choice(["nobody", "nobody", "ours", "theirs", "both"])
    inbound = [random_message(rng, number, peer) for number in range(rng.randint(0, 12))]
    sizes = [rng.choice([MIB, 3 * MIB]) for _ in range(4)] if heavy else [None] * rng.randint(0, 12)
    outbound = [
        join_fragments(random_message(rng, number, "out", size))
        for number, size in enumerate(sizes)
    ]
    came = [len(join_fragments(one)) for one in inbound]
    outward = rng.random() < 0.5
    way: Direction = "down" if (end == "server") == outward else "up"
    said = [len(one) for one in outbound] if outward and not echoes else came
    up, down = islice(paces(rng), 2)
    return Script(
        seed=seed,
        end=end,
        peer=peer,
        compress=compress,
        echoes=echoes,
        inbound=inbound,
        outbound=[] if echoes else outbound,
        bursts=rng.choice([1, 3, 100]),
        holds=rng.choice([0, 0, rng.randint(1, 100)]),
        asks=rng.randint(0, len(inbound)) if closer in ("ours", "both") else None,
        ours=rng.choice(OURS),
        peer_closes=closer in ("theirs", "both"),
        # 1000 is the library's alone, so that the code on the wire tells whose close it was; and
        # only the raw peer can close with none.
        theirs=rng.choice(THEIRS if peer == "raw" else THEIRS[:-1]),
        cut=random_cut(rng, way, closer != "nobody", compress, said),
        late=rng.choice(["fin", "rst"]),
        up=up,
        down=down,
        slow=heavy or rng.random() < 0.1,
    )


def random_message(
    rng: random.Random, number: int, who: str, size: int | None = None
) -> list[str] | list[bytes]:
    """Return a unique message, in fragments if the peer can send them."""
    if size is None:
        size = rng.choice([0, rng.randint(0, 30), rng.randint(0, 300), rng.choice([5000, 70_000])])
    text = f"{number} {who} grün {rng.random()} ".ljust(size, rng.choice("abc "))
    count = rng.choice([1, 1, 1, 3]) if who in ("raw", "websockets") else 1
    marks = [0, *sorted(rng.randint(0, len(text)) for _ in range(count - 1)), len(text)]
    pieces = [text[first:last] for first, last in pairwise(marks)]
    return [piece.encode() for piece in pieces] if rng.random() < 0.4 else pieces


def random_cut(
    rng: random.Random, way: Direction, closes: bool, compress: bool, sizes: list[int]
) -> Cut:
    """Return a random cut within or right after messages of these sizes."""
    how: CutKind = rng.choice(["fin", "rst"])
    if closes and rng.random() < 0.5:
        return Cut(way, "close", rng.randint(0, 12), how)
    # Near the end of a message as often as anywhere: else most were within the longest ones.
    near = sum(size + 8 for size in rng.sample(sizes, rng.randint(0, len(sizes))))
    anywhere = rng.randint(0, sum(size + 8 for size in sizes) + 8)
    count = rng.choice([near + rng.randint(-3, 12), anywhere])
    return Cut(way, "bytes", max(0, int(count * rng.random()) if compress else count), how)
