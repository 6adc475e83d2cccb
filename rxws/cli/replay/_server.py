"""A server that sends what a recorded client has received."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from itertools import count
from typing import Any

import rxws
from rxws import Close, Connection, closing
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure, cannot_listen
from rxws.cli._link import describe
from rxws.cli._output import note
from rxws.closing import check_sendable

from ._recorded import LaneReader, Recorded, frame_of

__all__ = ["Serving", "play_server"]

_NO_LIMIT = 1 << 40  # bytes; the next message is read when the socket has taken the last one
_A_DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Where to serve; see the help."""

    host: str
    port: int
    once: bool
    origins: tuple[str, ...]


async def play_server(
    recorded: Recorded, speed: float, serving: Serving, stop: asyncio.Event
) -> ExitCode:
    """Serve a recording, until `stop` or the end of the only connection.

    Raises:
        Failure: A line is wrong, a message has no frame, or the address cannot be used.
    """
    numbers = count(1)
    failure: Failure | None = None

    async def handler(conn: Connection[Any, Any]) -> AsyncGenerator[str | bytes | Close]:
        nonlocal failure
        number = next(numbers)
        note(f"connection {number}: opened {conn.handshake.url.path_qs}")
        conn.incoming.subscribe()
        conn.closed.subscribe(lambda close: on_closed(number, conn, close))
        with LaneReader(recorded, "incoming") as reader:
            try:
                async for event in reader.due(speed):
                    if event.type == "next":
                        yield frame_of(event)
            except Failure as error:
                failure = error
                stop.set()
                yield closing.UNEXPECTED
                return
        if reader.close is not None and reader.close.by == "network":
            request = conn.handshake.request
            assert request is not None
            if request.transport is not None:
                request.transport.abort()
            await conn.closed
        yield _sendable(reader.close)

    def on_closed(number: int, conn: Connection[Any, Any], close: Close) -> None:
        stats = conn.flow.stats
        counts = f"sent {stats.sent_messages}, received {stats.received_messages} messages"
        note(f"connection {number}: {describe(close, 'the client')}, {counts}")
        if serving.once:
            stop.set()

    options: dict[str, Any] = {"max_buffer": _NO_LIMIT, "send_timeout": _A_DAY}
    if recorded.subprotocol:
        options["protocols"] = [recorded.subprotocol]
    if serving.origins:
        options["origins"] = "*" if "*" in serving.origins else serving.origins
    # Each path is served, so that a client needs no other change than the host.
    server = rxws.serve({"/{path:.*}": handler}, serving.host, serving.port, **options)
    try:
        await server
    except OSError as error:
        raise cannot_listen(serving.host, serving.port, error) from error
    async with server:
        note(f"serving on {server.url} (any path)")
        await stop.wait()
    if failure is not None:
        raise failure
    return ExitCode.DONE


def _sendable(close: Close | None) -> Close:
    try:
        return check_sendable(close or Close())
    except ValueError:  # such as 1005: the close frame had no code
        return Close()
