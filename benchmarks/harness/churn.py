"""Open and close many connections, several in parallel, on raw sockets."""

from __future__ import annotations

import errno
import select
import socket

from benchmarks.harness.load import CLOSE, CLOSED, TIMEOUT, UPGRADE, PeerFailed, receive


class ChurnConnection:
    """One connection: connect, upgrade, close with 1000, wait until the server closes TCP."""

    def __init__(self, port: int) -> None:
        self.request = UPGRADE.format(port=port, more="").encode()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        error_code = self.sock.connect_ex(("127.0.0.1", port))
        if error_code not in (0, errno.EINPROGRESS):
            self.sock.close()
            raise PeerFailed(f"cannot connect: {errno.errorcode[error_code]}")
        self.head: bytes | None = b""  # None after the upgrade
        self.rest = b""

    def on_connected(self) -> None:
        """Send the upgrade request."""
        error_code = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error_code:
            raise PeerFailed(f"cannot connect: {errno.errorcode[error_code]}")
        self.sock.send(self.request)  # a few hundred bytes always fit into an empty buffer

    def on_readable(self) -> bool:
        """Read and answer; return whether the connection is finished."""
        if self.head is not None:
            self.head += receive(self.sock) or b""
            if b"\r\n\r\n" in self.head:
                if not self.head.startswith(b"HTTP/1.1 101 "):
                    raise PeerFailed(f"the upgrade error_code: {self.head!r}")
                self.head = None
                self.sock.send(CLOSE)
            return False
        try:
            data = self.sock.recv(len(CLOSED) + 1)
        except BlockingIOError:
            return False
        except OSError as error:
            raise PeerFailed(f"the connection was lost: {error}") from error
        self.rest += data
        if not data and self.rest != CLOSED:
            raise PeerFailed(f"the server answered the close with {self.rest!r}")
        return not data


def churn(port: int, count: int, parallel: int) -> None:
    """Open and close `count` connections, `parallel` of them at the same time."""
    connections: dict[int, ChurnConnection] = {}
    with select.epoll() as poll:

        def start() -> None:
            connection = ChurnConnection(port)
            connections[connection.sock.fileno()] = connection
            poll.register(connection.sock, select.EPOLLOUT)

        try:
            for _ in range(min(parallel, count)):
                start()
            remaining = count - len(connections)
            while connections:
                events = poll.poll(TIMEOUT)
                if not events:
                    raise PeerFailed(f"received nothing for {TIMEOUT:.0f} s")
                for fd, event in events:
                    connection = connections[fd]
                    if event & select.EPOLLOUT:
                        connection.on_connected()
                        poll.modify(fd, select.EPOLLIN)
                    elif connection.on_readable():
                        poll.unregister(fd)
                        connection.sock.close()
                        del connections[fd]
                        if remaining:
                            remaining -= 1
                            start()
        finally:
            for connection in connections.values():
                connection.sock.close()
