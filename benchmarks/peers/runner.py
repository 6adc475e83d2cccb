"""The command line that all peers share.

`python -m benchmarks.peers.NAME serve` prints the port that it listens on and a line of JSON that
describes the peer, and serves until standard input is closed. `... receive PORT` prints 0 and the
same JSON, and connects once for each line that it reads. The process exits as soon as its standard
input is closed, so no peer survives the process that started it.
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

MALLOC_WARM_UP = 1 << 20  # bytes

ACK = 32  # a receiver acknowledges every ACK messages; harness/feed.py relies on it


@dataclass(frozen=True)
class Options:
    """The configuration of a peer."""

    compress: bool
    maps: int  # number of `ops.map` in the pipeline, for peers that have one
    port: int  # port of the server to receive from
    burst: int  # messages that a peer of `fanout` sends for each one that it receives


Serve = Callable[[Options], AbstractAsyncContextManager[int]]
Receive = Callable[[Options], Coroutine[None, None, None]]


def identity(message: T) -> T:
    """Return the message: the work that every peer does for each message."""
    return message


def run_peer(
    serve: Serve, receive: Receive | None, *packages: str, transport: str | None = None
) -> None:
    """Run a peer as the command line says.

    Args:
        serve: Serves what the case needs and yields its port.
        receive: Connects and receives until the server closes; None for a peer that only serves.
        packages: The packages whose versions the peer reports.
        transport: The read path of rxws, if the peer uses it.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("serve",) if receive is None else ("serve", "receive"))
    parser.add_argument("port", nargs="?", type=int, default=0)
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--maps", type=int, default=1)
    parser.add_argument("--burst", type=int, default=1)
    parser.add_argument("--compress", action="store_true")
    args = parser.parse_args()
    warm_up_malloc()
    options = Options(args.compress, args.maps, args.port, args.burst)
    names = [*packages, "uvloop"] if args.loop == "uvloop" else packages
    about = {
        "python": platform.python_version(),
        "packages": {name: version(name) for name in names},
        "transport": transport,
    }

    async def main() -> None:
        commands = read_commands()
        if receive is None or args.role == "serve":
            async with serve(options) as port:
                announce(port, about)
                await commands.get()
            return
        announce(0, about)
        while True:
            await commands.get()
            await receive(options)

    with asyncio.Runner(loop_factory=loop_factory(args.loop)) as runner:
        runner.run(main())


def warm_up_malloc() -> None:
    """Allocate and free a large block of memory, so that malloc behaves alike in all peers.

    asyncio reads into a new `bytes` of 256 KiB. glibc maps and unmaps such a block for each read,
    until a larger block was freed once; after that it uses the heap. Whether this has happened
    depends on the imported modules, and changes the CPU time of a small message by a third.
    """
    bytes(MALLOC_WARM_UP)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    return asyncio.new_event_loop


def read_commands() -> asyncio.Queue[bytes]:
    """Return a queue of the lines from standard input; exit when it is closed."""
    commands: asyncio.Queue[bytes] = asyncio.Queue()
    source = sys.stdin.fileno()

    def on_readable() -> None:
        data = os.read(source, 4096)
        if not data:
            os._exit(0)  # no benchmark measures the shutdown
        for line in data.splitlines():
            commands.put_nowait(line)

    asyncio.get_running_loop().add_reader(source, on_readable)
    return commands


def announce(port: int, about: object) -> None:
    print(port, json.dumps(about), sep="\n", flush=True)
