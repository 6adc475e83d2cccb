"""The load: raw sockets and frames made beforehand, in one process, the same for every server.

It is no WebSocket client. What it does with each reply is as little as can be, so that the server
is the one that is busy: after the first messages, which are compared with what was sent, replies
are only counted.
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

PATIENCE = 30.0  # seconds without a sign of life after which a server is given up
DUPLEX = select.EPOLLIN | select.EPOLLOUT
# Bytes; the most that is read at once. Above 128 KiB each read would map memory and unmap it again
# (see peers/runner.py), and the load would be busier with that than the server.
CHUNK = 1 << 16
UPGRADE = (
    "GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n{more}\r\n"
)
# Context takeover is left on, as browsers ask for. The frames that are sent make no use of it, as a
# client need not, so the same ones do for every connection; each reply is compressed in the context
# of those before, and every server has the same work.
OFFER = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
TEXT = 0x81  # the first byte of a frame that is a text, whole
CONTROL = 0x08  # the bit that the opcodes of control frames have
CLOSE = frame(Op.CLOSE, close_body(1000), mask=b"\0\0\0\0")
CLOSED = frame(Op.CLOSE, close_body(1000))


class PeerFailed(Exception):
    """What is measured did not do what it is to do."""


class Replies(Protocol):
    """What counts the messages in the bytes that come in."""

    def take(self, data: bytes) -> int:
        """The number of messages that these bytes complete."""
        ...


class Counted:
    """Replies of which only the headers are looked at.

    Pings and pongs do not count, and are not answered: no connection is kept for so long.

    Args:
        size: The length of a reply with its header, where it is known: then pieces that begin and
            end with one are counted by their length.
    """

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.rest: bytes = b""  # of a header that is cut off
        self.skip: int = 0  # bytes that are still to come of a frame whose header is known
        self.one = 0  # what that frame counts for

    def take(self, data: bytes) -> int:
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


class Compared:
    """Replies that have to be what was sent, in its order."""

    def __init__(self, payloads: Sequence[bytes]) -> None:
        self.payloads = payloads
        self.decoder = Decoder()
        self.inflate = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self.seen = 0

    def take(self, data: bytes) -> int:
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
    """The frames of a client that sends these payloads over and over."""

    def __init__(self, payloads: Sequence[bytes], *, compress: bool, masked: bool = True) -> None:
        self.payloads = payloads
        self.compress = compress
        frames = [self._frame(payload, masked) for payload in payloads]
        self.ends = [0, *accumulate(len(one) for one in frames * 2)]
        self.block = memoryview(
            b"".join(frames * 2)
        )  # twice, so that each run of them is one piece

    def _frame(self, payload: bytes, masked: bool) -> bytes:
        mask = new_mask() if masked else None
        if self.compress:
            return frame(Op.TEXT, deflate(payload), rsv=4, mask=mask)
        return frame(Op.TEXT, payload, mask=mask)

    def run(self, first: int, count: int) -> memoryview:
        """So many frames in one piece, from that one on."""
        start = first % len(self.payloads)
        return self.block[self.ends[start] : self.ends[start + count]]

    def replies(self) -> Replies:
        return Counted(0 if self.compress else len(frame(Op.TEXT, self.payloads[0])))


class Link:
    """One connection: what is still to be sent and to be counted on it."""

    def __init__(self, port: int, messages: Messages) -> None:
        self.messages = messages
        self.sock = socket.create_connection(("127.0.0.1", port), PATIENCE)
        try:
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = UPGRADE.format(port=port, more=OFFER if messages.compress else "")
            self.sock.sendall(head.encode())
            answer = read_head(self.sock)
            if messages.compress != (b"permessage-deflate" in answer.lower()):
                raise PeerFailed(f"compression was not agreed on as it should: {answer!r}")
        except BaseException:
            self.sock.close()
            raise
        self.sock.setblocking(False)
        self.position = 0  # the next one of the messages
        self.replies: Replies = Compared(messages.payloads)
        self.unsent = memoryview(b"")
        self.to_send = 0  # messages that are not yet under way
        self.to_come = 0  # replies
        self.since = 0  # ns; when the last piece was sent

    def begin(self, count: int, replies: Replies) -> None:
        self.replies = replies
        self.to_send = self.to_come = count

    def send(self, count: int) -> bool:
        """Send so many more; False as long as some of it waits for the kernel."""
        count = min(count, self.to_send)
        if count:
            self.to_send -= count
            piece = self.messages.run(self.position, count)
            self.position += count
            self.unsent = memoryview(bytes(self.unsent) + piece) if self.unsent else piece
            self.since = time.perf_counter_ns()
        return self.flush()

    def flush(self) -> bool:
        if self.unsent:
            try:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
            except BlockingIOError:
                return False
        return not self.unsent

    def close(self) -> None:
        """Close as the protocol has it, and wait until the server has closed TCP."""
        try:
            self.sock.settimeout(PATIENCE)
            self.sock.sendall(CLOSE)
            last = b""
            while data := self.sock.recv(CHUNK):
                last = (last + data)[-len(CLOSED) :]
            if last != CLOSED:
                raise PeerFailed(f"the answer to a close is {last!r}")
        finally:
            self.sock.close()


def read_head(sock: socket.socket) -> bytes:
    """The head of an upgrade's answer."""
    head = b""
    while b"\r\n\r\n" not in head:
        data = sock.recv(CHUNK)
        if not data:
            raise PeerFailed(f"the connection ended in the handshake: {head!r}")
        head += data
    if not head.startswith(b"HTTP/1.1 101 ") or not head.endswith(b"\r\n\r\n"):
        raise PeerFailed(f"no upgrade: {head!r}")
    return head


def exchange(
    links: Sequence[Link], count: int, window: int, latencies: list[int] | None = None
) -> None:
    """Send and get back so many messages on each connection, `window` of them being under way.

    As the replies to n messages come in together, n more go out, in one write. `latencies` gets the
    nanoseconds of each message, which are told apart only where the window is 1.
    """
    clock = time.perf_counter_ns
    with select.epoll() as poll:
        by_fd = {link.sock.fileno(): link for link in links}
        for fd, link in by_fd.items():
            poll.register(fd, select.EPOLLIN if link.send(window) else DUPLEX)
        left = len(links)
        while left:
            events = poll.poll(PATIENCE)
            if not events:
                raise PeerFailed(f"nothing came for {PATIENCE:.0f} s")
            for fd, event in events:
                link = by_fd[fd]
                if event & ~select.EPOLLOUT:
                    data = receive(link.sock)
                    if data is None:
                        continue
                    found = link.replies.take(data)
                    if found and latencies is not None:
                        latencies.append(clock() - link.since)
                    link.to_come -= found
                    if link.to_come < 0:
                        raise PeerFailed(f"{-link.to_come} replies too many")
                    waits = bool(link.unsent)
                    flushed = link.send(found)
                    if waits == flushed:
                        poll.modify(fd, select.EPOLLIN if flushed else DUPLEX)
                    if found and not link.to_come:
                        left -= 1
                elif link.flush():
                    poll.modify(fd, select.EPOLLIN)


def receive(sock: socket.socket) -> bytes | None:
    """What there is to read, None if nothing; the end is a failure."""
    try:
        data = sock.recv(CHUNK)
    except BlockingIOError:
        return None
    except OSError as error:
        raise PeerFailed(f"the connection broke: {error}") from error
    if not data:
        raise PeerFailed("the connection ended")
    return data
