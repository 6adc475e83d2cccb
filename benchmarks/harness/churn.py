"""Connections that are opened and closed again, some at a time, on raw sockets."""

from __future__ import annotations

import errno
import select
import socket

from benchmarks.harness.load import CLOSE, CLOSED, PATIENCE, UPGRADE, PeerFailed, receive


class Cycle:
    """One connection: connect, upgrade, close with 1000, wait until the server has closed TCP."""

    def __init__(self, port: int) -> None:
        self.request = UPGRADE.format(port=port, more="").encode()
        self.sock = socket.socket()
        self.sock.setblocking(False)
        failed = self.sock.connect_ex(("127.0.0.1", port))
        if failed not in (0, errno.EINPROGRESS):
            self.sock.close()
            raise PeerFailed(f"no connection: {errno.errorcode[failed]}")
        self.head: bytes | None = b""  # None once the upgrade is done
        self.rest = b""

    def connected(self) -> None:
        """Ask for the upgrade."""
        failed = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failed:
            raise PeerFailed(f"no connection: {errno.errorcode[failed]}")
        self.sock.send(self.request)  # some hundred bytes into an empty buffer

    def ready(self) -> bool:
        """Take what came, and answer it; whether that was the end."""
        if self.head is not None:
            self.head += receive(self.sock) or b""
            if b"\r\n\r\n" in self.head:
                if not self.head.startswith(b"HTTP/1.1 101 "):
                    raise PeerFailed(f"no upgrade: {self.head!r}")
                self.head = None
                self.sock.send(CLOSE)
            return False
        try:
            data = self.sock.recv(len(CLOSED) + 1)
        except BlockingIOError:
            return False
        except OSError as error:
            raise PeerFailed(f"the connection broke: {error}") from error
        self.rest += data
        if not data and self.rest != CLOSED:
            raise PeerFailed(f"the answer to a close is {self.rest!r}")
        return not data


def cycle(port: int, count: int, width: int) -> None:
    """Go through so many connections, `width` of them at a time."""
    open_now: dict[int, Cycle] = {}
    with select.epoll() as poll:

        def begin() -> None:
            one = Cycle(port)
            open_now[one.sock.fileno()] = one
            poll.register(one.sock, select.EPOLLOUT)

        try:
            for _ in range(min(width, count)):
                begin()
            to_begin = count - len(open_now)
            while open_now:
                events = poll.poll(PATIENCE)
                if not events:
                    raise PeerFailed(f"nothing came for {PATIENCE:.0f} s")
                for fd, event in events:
                    one = open_now[fd]
                    if event & select.EPOLLOUT:
                        one.connected()
                        poll.modify(fd, select.EPOLLIN)
                    elif one.ready():
                        poll.unregister(fd)
                        one.sock.close()
                        del open_now[fd]
                        if to_begin:
                            to_begin -= 1
                            begin()
        finally:
            for one in open_now.values():
                one.sock.close()
