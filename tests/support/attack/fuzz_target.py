"""A fuzzing target: feeds bytes to aiohttp's parser and a real session, on a fake TCP transport.

    PYTHONPATH=tests python -m support.attack.fuzz_target [--runs N] [--seconds S] [--seed SEED]
    PYTHONPATH=tests python -m support.attack.fuzz_target --atheris [OPTIONS OF LIBFUZZER] [CORPUS]

The first plays the corpus and mutations of it. The second runs atheris (`pip install atheris`) to
find new code paths. A stream that fails is written to `crash.bin`; pass that file to play it again.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any

import rxws
from support.attack.corpus import entries
from support.attack.mutations import BYTE_CHANGES, LIMIT, mutant
from support.peers.fake_tcp import PushConnection
from support.subscriber import Subscriber

CODECS = (rxws.codecs.raw, rxws.codecs.text, rxws.codecs.json)
VERDICTS = {1002, 1007, 1009}
PATIENCE = 10.0  # seconds; how long a stream may take


class Undocumented(AssertionError):
    """Behaviour that is not documented."""


def need(condition: object, *what: object) -> None:
    """Raise `Undocumented` unless the condition holds."""
    if not condition:
        raise Undocumented(*what)


async def play(data: bytes) -> None:
    """Feed one stream. Its first byte selects the options, the second the chunk size.

    Raises:
        Undocumented: The result is not documented.
    """
    choice, size = (*data[:2], 0, 0)[:2]
    data = data[2:]
    one = PushConnection(max_size=LIMIT, compress=bool(choice & 1))
    session = one.session(
        max_message_size=LIMIT, codec=CODECS[choice >> 1 & 3 if choice & 6 != 6 else 0]
    )
    conn: rxws.Connection[Any, Any] = session.connection
    errors = Subscriber(conn.errors)
    closed = Subscriber(conn.closed)
    incoming = Subscriber(conn.incoming)
    if choice & 8:
        conn.incoming.subscribe(conn.outgoing)
    running = one.start(session)
    await asyncio.sleep(0)
    step = size or max(len(data), 1)
    for at in range(0, len(data), step):
        one.line.arrive(data[at : at + step])
        if choice & 16:
            await asyncio.sleep(0)
    if choice & 32:
        one.line.reset()
    else:
        one.line.eof()
    async with asyncio.timeout(PATIENCE):
        await running
    check(incoming.values, incoming.ends, closed.values, errors.values)
    frames = one.line.frames
    closing = [each for each in frames if each.opcode == 0x8]
    need(closing in ([], frames[-1:]), "more than a close at the end", frames)


def check(
    values: list[Any],
    ends: list[Exception | None],
    closes: list[rxws.Close],
    faults: list[Exception],
) -> None:
    """Check that the notifications of one connection are documented."""
    need(len(ends) == len(closes) == 1, "ends", ends, closes)
    need(all(type(each) is rxws.DecodeError for each in faults), "faults", faults)
    close, error = closes[0], ends[0]
    allowed = {
        "local": close.code in VERDICTS,
        "network": close.code == 1006,
        "peer": close.code == 1005 or rxws.closing.is_wire_code(close.code),
    }
    need(allowed[close.by], "close", close)
    if rxws.closing.is_clean(close):
        need(error is None, "error", close, error)
    else:
        need(type(error) is rxws.ConnectionClosed and error.close == close, "error", close, error)
    need(all(len(each) <= LIMIT for each in values if isinstance(each, str | bytes)), "size")


class Target:
    """Play streams on one loop; fail if the loop's exception handler is called."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._unheard: list[dict[str, Any]] = []
        self._loop.set_exception_handler(lambda _, context: self._unheard.append(context))

    def __call__(self, data: bytes) -> None:
        self._loop.run_until_complete(play(data))
        need(not self._unheard, "the loop's exception handler", self._unheard)

    def close(self) -> None:
        """Close the loop."""
        self._loop.close()


def seeds() -> list[bytes]:
    """Return the corpus, each stream with suitable options."""
    return [bytes([each.deflate, 0]) + each.data for each in entries()]


def mutations(seed: int) -> Callable[[int], bytes]:
    """Return a function that makes stream `number`: a mutated seed or valid session."""
    kept = seeds()

    def make(number: int) -> bytes:
        rng = random.Random(f"fuzz {seed} {number}")
        if rng.random() < 0.5:
            deflate = rng.random() < 0.5
            one = mutant(rng.randrange(1 << 40), masks=rng.random() < 0.5, deflate=deflate)
            return bytes([rng.randrange(32) << 1 | deflate, rng.choice([0, 1, 7, 255])]) + one.data
        data = rng.choice(kept)
        for _ in range(rng.choice([0, 1, 1, 2, 4])):
            at, rest = rng.choice(list(BYTE_CHANGES.values()))(rng, data or b"\0")
            data = data[:at] + rest
        return data

    return make


def fuzz(runs: int, seconds: float, seed: int) -> int:
    """Play the corpus and `runs` mutations, and return the number of streams.

    Raises:
        Undocumented: With the number of the stream; `seed` reproduces it.
    """
    target, make = Target(), mutations(seed)
    until = time.monotonic() + seconds
    played = 0
    data = b""
    try:
        for data in seeds():
            target(data)
            played += 1
        for number in range(runs):
            if time.monotonic() > until:
                break
            target(data := make(number))
            played += 1
    except BaseException as exc:
        exc.add_note(f"stream {played - len(seeds())} of seed {seed}: {data!r:.400}")
        vars(exc)["stream"] = data
        raise
    finally:
        target.close()
    return played


def main() -> None:
    """Run the command line."""
    if "--atheris" in sys.argv:
        sys.argv.remove("--atheris")
        atheris: Any = importlib.import_module("atheris")
        for each in gc.get_objects():  # of rxws only: of all it would take minutes
            if isinstance(each, FunctionType) and str(each.__module__).startswith("rxws"):
                atheris.instrument_func(each)
        atheris.Setup(sys.argv, Target())
        atheris.Fuzz()
        return
    parser = argparse.ArgumentParser(description="Feed sessions with bytes, right and wrong.")
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("file", nargs="?", type=Path, help="play this one only")
    asked = parser.parse_args()
    if asked.file:
        Target()(asked.file.read_bytes())
        return
    began = time.monotonic()
    try:
        played = fuzz(asked.runs, asked.seconds, asked.seed)
    except Exception as exc:
        Path("crash.bin").write_bytes(vars(exc)["stream"])
        raise
    print(f"{played} streams of seed {asked.seed} in {time.monotonic() - began:.0f} s")


if __name__ == "__main__":
    main()
