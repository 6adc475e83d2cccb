"""What every peer shares: its command line, and how it is started and ended from outside.

`python -m benchmarks.peers.NAME serve` prints the port that it listens on, then a line of JSON
about itself, and serves until its standard input ends. `... receive PORT` prints 0 and the same
line, and connects once for each line that it reads. The end of standard input ends the process at
once, so that none is left over when the one who started it is killed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TypeVar

T = TypeVar("T")

BLOCK = 1 << 20  # bytes

ACK = 32  # a receiver says so each time that so many messages have come, as load.py counts on


@dataclass(frozen=True)
class Options:
    """What a peer is asked to be."""

    compress: bool
    maps: int  # how many operators the pipeline has, where there is a pipeline
    port: int  # where the feed is


Serve = Callable[[Options], AbstractAsyncContextManager[int]]
Receive = Callable[[Options], Coroutine[None, None, None]]


def same(message: T) -> T:
    """The work that every peer does with every message: one call of a Python function."""
    return message


def run(serve: Serve, receive: Receive, *packages: str, transport: str | None = None) -> None:
    """Be what the command line says. `packages` are those whose versions are worth reporting."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("serve", "receive"))
    parser.add_argument("port", nargs="?", type=int, default=0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--maps", type=int, default=1)
    parser.add_argument("--compress", action="store_true")
    args = parser.parse_args()
    even_out_malloc()
    options = Options(args.compress, args.maps, args.port)
    names = [*packages, "uvloop"] if args.loop == "uvloop" else packages
    about = {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in names},
        "transport": transport,
    }

    async def main() -> None:
        orders = orders_from_outside()
        if args.what == "serve":
            async with serve(options) as port:
                say(port, about)
                await orders.get()
        say(0, about)
        while True:
            await orders.get()
            await receive(options)

    with asyncio.Runner(loop_factory=loop_factory(args.loop)) as runner:
        runner.run(main())


def even_out_malloc() -> None:
    """Free a large block of memory, as any program does sooner or later.

    asyncio reads up to 256 KiB at once into a new `bytes`, which glibc maps and unmaps for each
    read until a larger block has been freed once; from then on it takes them from its heap. Whether
    that has happened is an accident of what a process has imported, and is worth a third of the CPU
    time of a small message. So it happens in all of them.
    """
    bytes(BLOCK)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def orders_from_outside() -> asyncio.Queue[bytes]:
    """The lines of standard input; its end is the end of the process."""
    orders: asyncio.Queue[bytes] = asyncio.Queue()
    source = sys.stdin.fileno()

    def ready() -> None:
        data = os.read(source, 4096)
        if not data:
            os._exit(0)  # an orderly shutdown is not what is measured
        for line in data.splitlines():
            orders.put_nowait(line)

    asyncio.get_running_loop().add_reader(source, ready)
    return orders


def say(port: int, about: object) -> None:
    print(port, json.dumps(about), sep="\n", flush=True)
