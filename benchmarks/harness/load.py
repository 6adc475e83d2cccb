"""The load generator: raw sockets and prepared frames, in one process, the same for every server.

This is not a WebSocket client. It does as little as possible for each reply, so that the server
is the bottleneck: it compares the first replies with the messages and only counts the others.
"""

from __future__ import annotations

import select
import socket
import time
import zlib
from collections.abc import Sequence
from itertools import accumulate
from typing import Protocol

from support.peers.frames import Decoder, Op, close_body, deflate, frame, new_mask

TIMEOUT = 30.0  # seconds without any data after which a peer has failed
DUPLEX = select.EPOLLIN | select.EPOLLOUT
# Bytes per read. Above 128 KiB, glibc maps and unmaps memory for each read (see peers/runner.py),
# which would keep the load generator busier than the server.
CHUNK = 1 << 16
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
# Context takeover stays enabled, as in browsers. The prepared frames do not use it, which a client
# may choose, so all connections can share them. The server compresses each reply in the context of
# the previous ones.
OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT = 0x81  # first byte of an unfragmented text frame
CONTROL = 0x08  # bit that is set in the opcodes of control frames
CLOSE = frame(Op.CLOSE, close_body(1000), mask=b"\0\0\0\0")
CLOSED = frame(Op.CLOSE, close_body(1000))


class PeerFailed(Exception):
    """A peer did not behave as the benchmark requires."""


class ReplyReader(Protocol):
    """Counts the messages in the received bytes."""

    def feed(self, data: bytes) -> int:
        """Return the number of messages that these bytes complete."""
        ...


class ReplyCounter:
    """Counts replies by their headers only.

    It skips pings and pongs without an response: no connection lasts long enough to need one.

    Args:
        size: Bytes of a reply including its header, if all replies have the same size; 0
            otherwise. Chunks of whole replies are then counted by their length.
    """

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.rest: bytes = b""  # an incomplete header
        self.skip: int = 0  # remaining bytes of the current frame
        self.one = 0  # 1 if the current frame is a message, 0 if it is a control frame

    def feed(self, data: bytes) -> int:
        end, size = len(data), self.size
        aligned = size and not end % size and not self.skip and not self.rest
        if aligned and data[0] == data[-size] == TEXT:
            return end // size
        if self.skip > end:
            self.skip -= end
            return 0
        at, count = self.skip, self.one if self.skip else 0
        if self.rest:
            data = self.rest + data
            end = len(data)
        self.rest, self.skip = b"", 0
        while at < end:
            size, header = data[at + 1] if end - at > 1 else 0, 2
            if size >= 126:
                header = 4 if size == 126 else 10
                size = int.from_bytes(data[at + 2 : at + header], "big")
            if end - at < header:
                self.rest = data[at:]
                break
            self.one = 0 if data[at] & CONTROL else 1
            at += header + size
            if at > end:
                self.skip = at - end
            else:
                count += self.one
        return count


class ReplyChecker:
    """Checks that the replies are the sent payloads, in order."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads = payloads
        self.decoder = Decoder()
        self.inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self.seen = 0

    def feed(self, data: bytes) -> int:
        before = self.seen
        for reply in self.decoder.feed(data):
            if reply.opcode in (Op.PING, Op.PONG):
                continue
            payload = reply.payload
            if reply.rsv:
                payload = self.inflate.decompress(payload + b"\0\0\xff\xff")
            expected = self.payloads[self.seen % len(self.payloads)]
            if reply.opcode != Op.TEXT or not reply.fin or payload != expected:
                raise PeerFailed(f"reply {self.seen} is {reply.opcode}: {payload[:80]!r}")
            self.seen += 1
        return self.seen - before


class Messages:
    """The frames of a client that sends these payloads repeatedly.

    Args:
        payloads: The payloads.
        compress: Whether to compress them.
        masked: Whether to mask them, as clients do.
        replies: The payloads of the replies; by default they are echoed.
    """

    def __init__(
        self,
        payloads: Sequence[bytes],
        *,
        compress: bool,
        masked: bool = True,
        replies: Sequence[bytes] = (),
    ) -> None:
        self.payloads = payloads
        self.replies = replies or payloads
        self.compress = compress
        frames = [self._frame(payload, masked) for payload in payloads]
        self.ends = [0, *accumulate(len(one) for one in frames * 2)]
        # Two copies, so that a batch that wraps around is still contiguous.
        self.block = memoryview(b"".join(frames * 2))

    def _frame(self, payload: bytes, masked: bool) -> bytes:
        mask = new_mask() if masked else None
        if self.compress:
            return frame(Op.TEXT, deflate(payload), rsv=4, mask=mask)
        return frame(Op.TEXT, payload, mask=mask)

    def batch(self, first: int, count: int) -> memoryview:
        """Return `count` frames from number `first` on, as contiguous bytes."""
        start = first % len(self.payloads)
        return self.block[self.ends[start] : self.ends[start + count]]

    def checked_replies(self) -> ReplyReader:
        return ReplyChecker(self.replies)

    def counted_replies(self) -> ReplyReader:
        return ReplyCounter(0 if self.compress else len(frame(Op.TEXT, self.replies[0])))


class LoadConnection:
    """One connection, and the messages that it still has to send and to receive."""

    def __init__(self, port: int, messages: Messages) -> None:
        self.messages = messages
        self.sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = UPGRADE.format(port=port, more=OFFER if messages.compress else "")
            self.sock.sendall(head.encode())
            response = read_head(self.sock)
            if messages.compress != (b"permessage-deflate" in response.lower()):
                raise PeerFailed(f"unexpected result of the compression offer: {response!r}")
        except BaseException:
            self.sock.close()
            raise
        self.sock.setblocking(False)
        self.position = 0  # number of the next message
        self.replies: ReplyReader = messages.checked_replies()
        self.unsent = memoryview(b"")
        self.to_send = 0  # messages not yet sent
        self.awaited = 0  # replies not yet received
        self.sent_at = 0  # ns; time of the last write

    def begin(self, count: int, replies: ReplyReader) -> None:
        self.replies = replies
        self.to_send = self.awaited = count

    def send(self, count: int) -> bool:
        """Send up to `count` more messages; return whether the kernel has accepted all bytes."""
        count = min(count, self.to_send)
        if count:
            self.to_send -= count
            batch = self.messages.batch(self.position, count)
            self.position += count
            self.unsent = memoryview(bytes(self.unsent) + batch) if self.unsent else batch
            self.sent_at = time.perf_counter_ns()
        return self.flush()

    def flush(self) -> bool:
        if self.unsent:
            try:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
            except BlockingIOError:
                return False
        return not self.unsent

    def close(self) -> None:
        """Perform the close handshake and wait until the server closes TCP."""
        try:
            self.sock.settimeout(TIMEOUT)
            self.sock.sendall(CLOSE)
            last = b""
            while data := self.sock.recv(CHUNK):
                last = (last + data)[-len(CLOSED) :]
            if last != CLOSED:
                raise PeerFailed(f"the server answered the close with {last!r}")
        finally:
            self.sock.close()


def read_head(sock: socket.socket) -> bytes:
    """Read the response to the upgrade request."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(CHUNK)
        if not data:
            raise PeerFailed(f"the connection ended during the handshake: {head!r}")
        head += data
    if not head.startswith(b"HTTP/1.1 101 ") or not head.endswith(b"\r\n\r\n"):
        raise PeerFailed(f"the upgrade failed: {head!r}")
    return head


def exchange(
    connections: Sequence[LoadConnection],
    count: int,
    window: int,
    latencies: list[int] | None = None,
) -> None:
    """Send `count` messages on each connection, at most `window` in flight, and await the replies.

    When n replies arrive together, the next n messages are sent in one write.

    Args:
        connections: The connections, after `begin(count, ...)`.
        count: Messages per connection.
        window: Messages in flight per connection.
        latencies: Receives the round-trip time of each message, in ns. Pass it only with a window
            of 1: with more, an echo cannot be assigned to its message.
    """
    clock = time.perf_counter_ns
    with select.epoll() as poll:
        by_fd = {connection.sock.fileno(): connection for connection in connections}
        for fd, connection in by_fd.items():
            poll.register(fd, select.EPOLLIN if connection.send(window) else DUPLEX)
        left = len(connections)
        while left:
            events = poll.poll(TIMEOUT)
            if not events:
                raise PeerFailed(f"received nothing for {TIMEOUT:.0f} s")
            for fd, event in events:
                connection = by_fd[fd]
                if event & ~select.EPOLLOUT:
                    data = receive(connection.sock)
                    if data is None:
                        continue
                    received = connection.replies.feed(data)
                    if received and latencies is not None:
                        latencies.append(clock() - connection.sent_at)
                    connection.awaited -= received
                    if connection.awaited < 0:
                        raise PeerFailed(
                            f"received {-connection.awaited} more replies than expected"
                        )
                    was_blocked = bool(connection.unsent)
                    flushed = connection.send(received)
                    if was_blocked == flushed:
                        poll.modify(fd, select.EPOLLIN if flushed else DUPLEX)
                    if received and not connection.awaited:
                        left -= 1
                elif connection.flush():
                    poll.modify(fd, select.EPOLLIN)


def receive(sock: socket.socket) -> bytes | None:
    """Return the available bytes, or None; raise PeerFailed at the end of the connection."""
    try:
        data = sock.recv(CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        raise PeerFailed(f"the connection was lost: {error}") from error
    if not data:
        raise PeerFailed("the connection ended")
    return data
