"""Measure what 99 subscribers of a topic receive while the 100th is stuck.

Run `python benchmarks/stuck_subscriber.py [rounds]` from the root of the repository. The three
rounds of the default take half a minute.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import socket
import statistics
import sys
import time
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit

import rxws
from rxws.overflow import Overflow

SUBSCRIBERS = 100
MESSAGE = "x" * 1000
BATCH = 20
WARM_UP = 30  # batches; after them, the buffer of the stuck subscriber is full
SECONDS = 2.0
FRAME = len(MESSAGE) + 4
REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def opened(port: int, receive_buffer: int | None = None) -> socket.socket:
    """Return a socket after the handshake."""
    sock = socket.socket()
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    sock.connect(("127.0.0.1", port))
    sock.sendall(REQUEST)
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        answer += sock.recv(1)
    return sock


def receive_all(port: int, count: int, pipe: Connection) -> None:
    """Report each batch that `count` clients have received."""
    socks = [opened(port) for _ in range(count)]
    while True:
        pipe.send(None)
        for sock in socks:
            left = FRAME * BATCH
            while left:
                received = len(sock.recv(left))
                if not received:
                    return
                left -= received


async def rate(overflow: Overflow, stuck: bool) -> float:
    """Return how many messages the subscribers that read receive in a second of CPU time, each."""
    hub = rxws.Hub()
    topic = hub.topic("news")

    def subscribed(conn: rxws.Connection[Any]) -> rxws.hub.Topic[Any]:
        return topic

    serving = rxws.serve(subscribed, overflow=overflow, max_buffer=1 << 16, send_timeout=3600.0)
    async with hub, serving as server:
        port = urlsplit(server.url).port
        assert port is not None
        ours, theirs = multiprocessing.Pipe()
        clients = multiprocessing.Process(
            target=receive_all, args=(port, SUBSCRIBERS - stuck, theirs)
        )
        clients.start()
        try:
            await asyncio.to_thread(ours.recv)
            blocked = await asyncio.to_thread(opened, port, 4096) if stuck else None

            async def publish() -> None:
                for _ in range(BATCH):
                    topic.on_next(MESSAGE)
                await asyncio.to_thread(ours.recv)

            for _ in range(WARM_UP):
                await publish()
            batches, start, used = 0, time.perf_counter(), time.process_time()
            while time.perf_counter() - start < SECONDS:
                await publish()
                batches += 1
            seconds = time.process_time() - used
            if blocked:
                blocked.close()
        finally:
            clients.terminate()
            await asyncio.to_thread(clients.join)
    return batches * BATCH / seconds


def main(rounds: int = 3) -> None:
    """Print a line for each policy."""
    policies: dict[str, Overflow] = {"close": "close", "drop_oldest": "drop_oldest"}
    for name, overflow in policies.items():
        free: list[float] = []
        stuck: list[float] = []
        for _ in range(rounds):
            free.append(asyncio.run(rate(overflow, stuck=False)))
            stuck.append(asyncio.run(rate(overflow, stuck=True)))
        one, other = statistics.median(free), statistics.median(stuck)
        print(
            f"overflow={name}: {one:.0f} messages to each of {SUBSCRIBERS} subscribers in a second "
            f"of CPU time; {other:.0f} to each of the others if one is stuck: {other / one:.0%}"
        )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
