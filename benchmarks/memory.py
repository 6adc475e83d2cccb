"""Measure the memory of an rxws server, as docs/concepts/flow.md and howto/many-machines.md show.

Run `python benchmarks/memory.py` from the root of the repository, on Linux. It takes two minutes.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.processes.server import KIB, MIB, cycles, flood, idle_cost, running

SECONDS = 20.0
IDLE = 2000
HUB = [
    ("topic", "subscribed to a topic", ()),
    ("room", "subscribed to `rewind` and `joined`, and publishing", ()),
    ("hub", "of `hub.serve`, with one subscription", (
        '{"id":1,"connect":{}}', '{"id":2,"subscribe":{"channel":"room:1"}}'
    )),
]  # fmt: skip
WARM_UP, CYCLES = 1000, 4000


def row(what: str, measured: str, limit: str) -> None:
    print(f"| {what} | {measured} | {limit} |", flush=True)


async def floods() -> None:
    for name, what in [
        ("echo", "an echo handler, a peer that does not read"),
        ("slow", "a subscriber that takes 1 ms for each message"),
    ]:
        async with running() as server:
            grown, taken = await flood(server, name, SECONDS)
        measured = f"+{grown / MIB:.1f} MiB at the peak; TCP accepted {taken:,} messages"
        row(f"a flood of 1 KiB messages for {SECONDS:.0f} s: {what}", measured, "16 MiB")


async def connections() -> None:
    async with running() as server:
        await cycles(server, 10)
        fresh = await server.held()
        await cycles(server, WARM_UP)
        before = await server.held()
        await cycles(server, CYCLES)
        after = await server.held()
    left = {name: after[name] - fresh[name] for name in after if name != "rss"}
    counts = ", ".join(f"{count} {name}" for name, count in left.items())
    total = WARM_UP + CYCLES
    row(f"objects left after {total} connections were opened and closed", counts, "0")
    grown = f"{(after['rss'] - before['rss']) / KIB:+.0f} KiB"
    span = f"between the {WARM_UP}th and the {total}th of these connections"
    row(f"growth of the resident memory {span}", grown, "no steady growth")


async def idle() -> None:
    plain, ours = await idle_cost("raw", IDLE), await idle_cost("route", IDLE)
    what = f"memory of an idle connection with aiohttp alone, with {IDLE} connections"
    row(what, f"{plain / KIB:.1f} KiB", "")
    more = f"{ours / KIB:.1f} KiB, {(ours - plain) / KIB:.1f} KiB more"
    row("the same with rxws and an echo handler", more, "6 KiB more")
    for name, what, texts in HUB:
        cost = await idle_cost(name, IDLE, *texts)
        row(f"the same, {what}", f"{cost / KIB:.1f} KiB", "")


async def main() -> None:
    print("| what | measured | limit in the tests |\n|---|---|---|")
    await idle()
    await connections()
    await floods()


if __name__ == "__main__":
    asyncio.run(main())
