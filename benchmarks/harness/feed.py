"""A server on raw sockets that sends messages to the client that is measured."""

from __future__ import annotations

import base64
import hashlib
import re
import socket

from benchmarks.harness.load import CHUNK, TIMEOUT, Messages, PeerFailed
from benchmarks.peers.runner import ACK
from support.peers.frames import Decoder, Frame, Op, close_body, frame

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class FeedServer:
    """Listens on a free port and accepts one client at a time."""

    def __init__(self, messages: Messages, window: int) -> None:
        self.messages = messages
        self.window = window
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(TIMEOUT)
        self.port: int = self.listener.getsockname()[1]

    def close(self) -> None:
        self.listener.close()

    def accept(self) -> FeedConnection:
        sock, _ = self.listener.accept()
        try:
            sock.settimeout(TIMEOUT)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += read(sock)
            sock.sendall(upgrade_response(head))
        except BaseException:
            sock.close()
            raise
        return FeedConnection(sock, self.messages, self.window)


class FeedConnection:
    """The connection of one client."""

    def __init__(self, sock: socket.socket, messages: Messages, window: int) -> None:
        self.sock = sock
        self.messages = messages
        self.window = window
        self.decoder = Decoder()

    def send(self, count: int) -> None:
        """Send `count` messages, a multiple of `ACK`, and wait until the client has all."""
        first = min(self.window, count)
        self.sock.sendall(self.messages.batch(0, first))
        to_send, in_flight = count - first, first
        while in_flight:
            acks = sum(self.is_ack(one) for one in self.decoder.feed(read(self.sock)))
            more = min(acks * ACK, to_send)
            if more:
                self.sock.sendall(self.messages.batch(0, more))
            to_send -= more
            in_flight += more - acks * ACK
            if in_flight < 0:
                raise PeerFailed("the client acknowledged more messages than were sent")

    def is_ack(self, received: Frame) -> bool:
        """Return whether this frame acknowledges `ACK` more messages; answer pings."""
        if received.opcode == Op.PING:
            self.sock.sendall(frame(Op.PONG, received.payload))
            return False
        if received.opcode == Op.PONG:  # rxws sends unsolicited pongs while it is behind
            return False
        if received.opcode != Op.TEXT:
            raise PeerFailed(f"the client sent {received}")
        return True

    def close(self) -> None:
        """Perform the close handshake."""
        try:
            self.sock.sendall(frame(Op.CLOSE, close_body(1000)))
            while True:
                for received in self.decoder.feed(read(self.sock)):
                    if received.opcode == Op.CLOSE:
                        return
        finally:
            self.sock.close()


def read(sock: socket.socket) -> bytes:
    try:
        data = sock.recv(CHUNK)
    except OSError as error:
        raise PeerFailed(f"the client is silent or gone: {error}") from error
    if not data:
        raise PeerFailed("the client closed the connection")
    return data


def upgrade_response(head: bytes) -> bytes:
    """Return the response that accepts an upgrade without extensions."""
    match = re.search(rb"(?im)^sec-websocket-key:\s*(\S+)", head)
    if match is None:
        raise PeerFailed(f"not an upgrade request: {head!r}")
    accept = base64.b64encode(hashlib.sha1(match[1] + MAGIC).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
