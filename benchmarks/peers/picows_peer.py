"""picows, a WebSocket library in C: the echo listener of its documentation, and a client.

Unlike all other peers, this echo forwards the bytes of a frame: it neither validates UTF-8 nor
creates a `str`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import picows
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest

from benchmarks.peers.runner import ACK, Options, identity, run_peer


class Echo(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            transport.send(frame.msg_type, identity(frame.get_payload_as_memoryview()))


class Receiver(WSListener):
    count = 0

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()
        else:
            identity(frame.get_payload_as_utf8_text())
            self.count += 1
            if self.count % ACK == 0:
                transport.send(WSMsgType.TEXT, b"more")


def new_echo(_: WSUpgradeRequest) -> WSListener:
    return Echo()


@asynccontextmanager
async def serve(_: Options) -> AsyncGenerator[int]:
    # picows does not annotate its `**kwargs`.
    create = picows.ws_create_server  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    async with await create(new_echo, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def receive(options: Options) -> None:
    connect = picows.ws_connect  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    transport, _ = await connect(Receiver, f"ws://127.0.0.1:{options.port}/")
    await transport.wait_disconnected()


if __name__ == "__main__":
    run_peer(serve, receive, "picows")
