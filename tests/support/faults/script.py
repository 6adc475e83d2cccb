"""Connections that are cut at random, as programs: what is said, by whom, and where it ends.

A `Script` is all that a seed decides, so that a failure can be repeated by its seed.
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
    """One connection's program.

    Attributes:
        end: The end that the library is at.
        peer: What is at the other.
        compress: Whether permessage-deflate is agreed.
        echoes: Whether what comes in goes out again; else `outbound` is pushed.
        inbound: The messages of the peer, each as its fragments.
        outbound: The library's.
        bursts: After how many of its own messages the peer lets others run.
        holds: For how many turns of the loop the library holds the flow at every third message.
        asks: After how many incoming messages the library closes; None for never.
        ours: Its close.
        peer_closes: Whether the peer closes after its last message.
        theirs: Its code.
        cut: Where it is cut.
        late: How it is cut once all was said, if it was not before.
        slow: Whether the kernel takes little on the way.
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
        """The direction of what comes in."""
        return "up" if self.end == "server" else "down"

    @property
    def way_out(self) -> Direction:
        """The direction of what goes out."""
        return "down" if self.end == "server" else "up"

    @property
    def messages(self) -> list[str | bytes]:
        """What the peer says."""
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
    """A message of these fragments."""
    empty: Any = pieces[0][:0]
    whole: str | bytes = empty.join(pieces)
    return whole


def random_script(seed: int, end: End | None = None, peer: str | None = None) -> Script:
    """The program of this seed."""
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
    """A message that no other is equal to, in fragments where the peer can send them."""
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
    """A place within what is about to be said this way, messages of these sizes, or just after."""
    how: CutKind = rng.choice(["fin", "rst"])
    if closes and rng.random() < 0.5:
        return Cut(way, "close", rng.randint(0, 12), how)
    # Near the end of a message as often as anywhere: else most were within the longest ones.
    near = sum(size + 8 for size in rng.sample(sizes, rng.randint(0, len(sizes))))
    anywhere = rng.randint(0, sum(size + 8 for size in sizes) + 8)
    count = rng.choice([near + rng.randint(-3, 12), anywhere])
    return Cut(way, "bytes", max(0, int(count * rng.random()) if compress else count), how)
