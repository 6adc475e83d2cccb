"""Byte streams in `tests/robustness/corpus/`, with the result that a receiver must report.

`PYTHONPATH=tests python -m support.attack.corpus` writes the files. The tests read them, so that a
change in how they are made changes no test unnoticed; a fuzzer starts from them, too.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass

from support import TESTS
from support.attack.mutations import LIMIT, digest, mutant
from support.peers.frames import Op, close_body, deflate, frame

FOLDER = TESTS / "robustness" / "corpus"
INDEX = FOLDER / "index.json"


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream. Both ends accept it, because both accept masked and unmasked frames.

    Attributes:
        name: Its name; `deflate-…` is for connections with permessage-deflate.
        messages: How many messages `incoming` emits.
        digest: Their `mutations.digest`.
        code: The code that `closed` emits.
        by: Who ended it.
    """

    name: str
    messages: int
    digest: int
    code: int
    by: str

    @property
    def data(self) -> bytes:
        """The bytes."""
        return (FOLDER / f"{self.name}.bin").read_bytes()

    @property
    def deflate(self) -> bool:
        """Whether the connection has permessage-deflate."""
        return self.name.startswith("deflate-")


def entries() -> list[Entry]:
    """Return all entries."""
    return [Entry(**each) for each in json.loads(INDEX.read_text())]


# --- making them ------------------------------------------------------------------------------

Values = tuple[str | bytes, ...]
made: dict[str, bytes] = {}
index: list[Entry] = []


def add_entry(name: str, data: bytes, code: int, by: str = "local", told: Values = ()) -> None:
    """Add a stream and its result."""
    made[name] = data
    index.append(Entry(name, len(told), digest(told), code, by))


HI = frame(Op.TEXT, b"hi")
BYE = frame(Op.CLOSE, close_body(1000))


def deflated_in_context(*payloads: bytes) -> list[bytes]:
    """Return payloads compressed with context takeover."""
    squeeze = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return [
        (squeeze.compress(each) + squeeze.flush(zlib.Z_SYNC_FLUSH)).removesuffix(
            b"\x00\x00\xff\xff"
        )
        for each in payloads
    ]


def make_sound() -> None:
    add_entry("empty", b"", 1006, "network")
    add_entry("hello", HI + BYE, 1000, "peer", ("hi",))
    add_entry(
        "masked", frame(Op.TEXT, b"hi", mask=b"\x01\x02\x03\x04") + BYE, 1000, "peer", ("hi",)
    )
    add_entry("zero-mask", frame(Op.TEXT, b"hi", mask=bytes(4)) + BYE, 1000, "peer", ("hi",))
    add_entry("no-close", HI, 1006, "network", ("hi",))
    add_entry("close-without-code", HI + frame(Op.CLOSE), 1005, "peer", ("hi",))
    add_entry("close-4999", frame(Op.CLOSE, close_body(4999, "é" * 61)), 4999, "peer")
    add_entry("behind-the-close", BYE + HI + frame(0x3), 1000, "peer")
    for size in (0, 125, 126, 127, LIMIT):
        add_entry(f"size-{size}", frame(Op.BINARY, bytes(size)) + BYE, 1000, "peer", (bytes(size),))
    parts = [frame(Op.CONT, bytes([each]), fin=False) for each in "é€".encode()]
    split = frame(Op.TEXT, b"", fin=False) + b"".join(parts)
    add_entry("split-characters", split + frame(Op.CONT) + BYE, 1000, "peer", ("é€",))
    pings = frame(Op.PING, b"p" * 125) + frame(Op.PONG, b"unsolicited")
    halves = frame(Op.TEXT, b"h", fin=False) + pings + frame(Op.CONT, b"i")
    add_entry("pings-within", halves + BYE, 1000, "peer", ("hi",))
    long_length = b"\x82\x7f" + (1).to_bytes(8, "big") + b"x"
    add_entry("length-longer-than-need-be", long_length + BYE, 1000, "peer", (b"x",))


def make_broken() -> None:
    for opcode in (0x3, 0x7, 0xB, 0xF):
        add_entry(f"opcode-{opcode:x}", HI + frame(opcode, b"x") + HI, 1002, told=("hi",))
    for rsv in (1, 2, 4, 7):
        add_entry(f"reserved-{rsv}", HI + frame(Op.TEXT, b"x", rsv=rsv) + HI, 1002, told=("hi",))
    add_entry("fragmented-ping", frame(Op.PING, b"x", fin=False), 1002)
    add_entry("fragmented-close", frame(Op.CLOSE, close_body(1000), fin=False), 1002)
    add_entry("long-ping", frame(Op.PING, bytes(126)), 1002)
    add_entry("long-close", frame(Op.CLOSE, close_body(1000, "x" * 124)), 1002)
    add_entry("continuation-of-nothing", frame(Op.CONT, b"x"), 1002)
    add_entry("message-within", frame(Op.TEXT, b"a", fin=False) + HI, 1002)
    add_entry("start-within", frame(Op.TEXT, b"a", fin=False) * 2, 1002)
    add_entry("close-of-one-byte", frame(Op.CLOSE, b"\x03"), 1002)
    for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535):
        add_entry(f"close-{code}", HI + frame(Op.CLOSE, close_body(code)), 1002, told=("hi",))
    add_entry("close-bad-reason", frame(Op.CLOSE, close_body(1000, b"\xff")), 1007)
    for name, bad in {
        "lone-byte": b"\xff",
        "overlong": b"\xc0\x80",
        "surrogate": b"\xed\xa0\x80",
        "beyond-unicode": b"\xf4\x90\x80\x80",
        "cut-character": "é".encode()[:1],
    }.items():
        add_entry(f"utf8-{name}", HI + frame(Op.TEXT, b"ab" + bad) + HI, 1007, told=("hi",))
    add_entry("size-too-large", frame(Op.BINARY, bytes(LIMIT + 1)), 1009)
    halves = frame(Op.BINARY, bytes(LIMIT), fin=False) + frame(Op.CONT, b"x")
    add_entry("fragments-too-large", halves, 1009)
    for bits in (31, 32, 62, 63):
        add_entry(f"length-2-{bits}", frame(Op.BINARY, b"x", claim=1 << bits), 1009)
    add_entry("length-all-ones", frame(Op.BINARY, b"x", claim=(1 << 64) - 1), 1009)
    for at in (1, 3):
        add_entry(
            f"cut-header-{at}", HI + frame(Op.BINARY, bytes(300))[:at], 1006, "network", ("hi",)
        )
    add_entry("cut-mask", HI + frame(Op.TEXT, b"x", mask=b"mask")[:4], 1006, "network", ("hi",))
    add_entry("cut-payload", HI + frame(Op.TEXT, b"xyz")[:-1], 1006, "network", ("hi",))
    add_entry("never-finished", HI + frame(Op.TEXT, b"x", fin=False), 1006, "network", ("hi",))
    add_entry("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002)
    add_entry("tls", bytes.fromhex("16030100dc010000d80303"), 1002)
    add_entry("zeros", bytes(1000), 1002)
    add_entry("ones", b"\xff" * 1000, 1002)


def make_deflated() -> None:
    def message(data: bytes, opcode: Op = Op.TEXT, fin: bool = True) -> bytes:
        return frame(opcode, data, rsv=4, fin=fin)

    first, second = deflated_in_context(b"words " * 20, b"words " * 30)
    context = ("words " * 20, "words " * 30)
    both = message(first) + message(second)
    add_entry("deflate-context", both + BYE, 1000, "peer", context)
    add_entry("deflate-context-missing", message(second) + HI, 1007)
    add_entry("deflate-plain-between", message(first) + HI + BYE, 1000, "peer", (context[0], "hi"))
    small = deflate(b"hi there, hi there")
    parts = message(small[:5], fin=False) + frame(Op.PING) + frame(Op.CONT, small[5:])
    add_entry("deflate-fragments", parts + BYE, 1000, "peer", ("hi there, hi there",))
    twice = message(small[:5], fin=False) + frame(Op.CONT, small[5:], rsv=4)
    add_entry("deflate-bit-on-continuation", twice, 1002)
    add_entry("deflate-garbage", message(b"\xff\xff\xff\xff\xff") + HI, 1007)
    add_entry("deflate-cut", message(deflate(bytes(1000))[:-3]) + HI, 1007)
    add_entry("deflate-bad-utf8", message(deflate(b"ab\xff")), 1007)
    bomb = deflate(bytes(1 << 20))
    add_entry("deflate-bomb", message(bomb, Op.BINARY) + HI, 1009)
    over = deflate(bytes(LIMIT + 1))
    add_entry(
        "deflate-limit",
        message(deflate(bytes(LIMIT)), Op.BINARY) + BYE,
        1000,
        "peer",
        (bytes(LIMIT),),
    )
    add_entry("deflate-beyond-limit", message(over, Op.BINARY), 1009)
    # Random data grows when compressed, above the limit; an older version refused it.
    noise = next(each for each in mutant(176, masks=True, deflate=True).due if len(each) == LIMIT)
    assert isinstance(noise, bytes)
    add_entry("deflate-noise", message(deflate(noise), Op.BINARY) + BYE, 1000, "peer", (noise,))


def main() -> None:
    """Write the files."""
    make_sound()
    make_broken()
    make_deflated()
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.bin"):
        old.unlink()
    for name, data in made.items():
        (FOLDER / f"{name}.bin").write_bytes(data)
    INDEX.write_text(json.dumps([asdict(each) for each in index], indent=1) + "\n")


if __name__ == "__main__":
    main()
