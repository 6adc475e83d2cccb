"""Let a server send messages to many connections, and wait until all of them have received them."""

from __future__ import annotations

import select
from collections.abc import Sequence

from benchmarks.harness.load import TIMEOUT, LoadConnection, PeerFailed, receive


def fan_out(connections: Sequence[LoadConnection], bursts: int, size: int) -> None:
    """Send a message on the first connection, and wait for `size` messages on every connection.

    Args:
        connections: The connections.
        bursts: How often to do that.
        size: Messages that the server sends to every connection for each one that it receives.
    """
    first = connections[0]
    with select.epoll() as poll:
        by_fd = {connection.sock.fileno(): connection for connection in connections}
        for fd in by_fd:
            poll.register(fd, select.EPOLLIN)
        for _ in range(bursts):
            for connection in connections:
                connection.awaited = size
            first.to_send = 1
            first.send(1)  # 38 bytes, into an empty buffer
            left = len(connections)
            while left:
                events = poll.poll(TIMEOUT)
                if not events:
                    raise PeerFailed(f"received nothing for {TIMEOUT:.0f} s")
                for fd, _ in events:
                    connection = by_fd[fd]
                    data = receive(connection.sock)
                    if data is None:
                        continue
                    received = connection.replies.feed(data)
                    connection.awaited -= received
                    if connection.awaited < 0:
                        raise PeerFailed("received more messages than expected")
                    if received and not connection.awaited:
                        left -= 1
