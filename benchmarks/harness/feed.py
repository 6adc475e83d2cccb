"""The feed: a server made of raw sockets, for one client at a time, the one that is measured."""

from __future__ import annotations

import base64
import hashlib
import re
import socket

from benchmarks.harness.load import CHUNK, PATIENCE, Messages, PeerFailed
from benchmarks.peers.runner import ACK
from support.peers.frames import Decoder, Frame, Op, close_body, frame

MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Feed:
    """Listens on a port of its own, and feeds the client that connects."""

    def __init__(self, messages: Messages, window: int) -> None:
        self.messages = messages
        self.window = window
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.listener.settimeout(PATIENCE)
        self.port: int = self.listener.getsockname()[1]

    def close(self) -> None:
        self.listener.close()

    def accept(self) -> Fed:
        sock, _ = self.listener.accept()
        try:
            sock.settimeout(PATIENCE)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += read(sock)
            sock.sendall(answer(head))
        except BaseException:
            sock.close()
            raise
        return Fed(sock, self.messages, self.window)


class Fed:
    """A client that is connected."""

    def __init__(self, sock: socket.socket, messages: Messages, window: int) -> None:
        self.sock = sock
        self.messages = messages
        self.window = window
        self.decoder = Decoder()

    def feed(self, count: int) -> None:
        """Send so many messages, a multiple of `ACK`, and wait until the client has them all."""
        first = min(self.window, count)
        self.sock.sendall(self.messages.run(0, first))
        to_send, under_way = count - first, first
        while under_way:
            acks = sum(self.told(one) for one in self.decoder.feed(read(self.sock)))
            more = min(acks * ACK, to_send)
            if more:
                self.sock.sendall(self.messages.run(0, more))
            to_send -= more
            under_way += more - acks * ACK
            if under_way < 0:
                raise PeerFailed("the client says that it has more than was sent")

    def told(self, said: Frame) -> bool:
        """Whether the client says that it has had `ACK` more messages."""
        if said.opcode == Op.PING:
            self.sock.sendall(frame(Op.PONG, said.payload))
            return False
        if said.opcode == Op.PONG:  # a sign of life, as rxws gives it when it falls behind
            return False
        if said.opcode != Op.TEXT:
            raise PeerFailed(f"the client sent {said}")
        return True

    def close(self) -> None:
        """Close as the protocol has it."""
        try:
            self.sock.sendall(frame(Op.CLOSE, close_body(1000)))
            while True:
                for said in self.decoder.feed(read(self.sock)):
                    if said.opcode == Op.CLOSE:
                        return
        finally:
            self.sock.close()


def read(sock: socket.socket) -> bytes:
    try:
        data = sock.recv(CHUNK)
    except OSError as error:
        raise PeerFailed(f"the client said nothing, or is gone: {error}") from error
    if not data:
        raise PeerFailed("the client ended the connection")
    return data


def answer(head: bytes) -> bytes:
    """The head that accepts an upgrade, without any extension."""
    found = re.search(rb"(?im)^sec-websocket-key:\s*(\S+)", head)
    if found is None:
        raise PeerFailed(f"no request for an upgrade: {head!r}")
    accept = base64.b64encode(hashlib.sha1(found[1] + MAGIC).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
    )
