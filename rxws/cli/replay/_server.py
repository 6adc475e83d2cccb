"""A server that sends what a recorded client has received."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import Any

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws import Close, Connection, Recording, codecs
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import cannot_listen
from rxws.cli._link import describe
from rxws.cli._output import note
from rxws.closing import check_sendable

from ._messages import close_of, frames

__all__ = ["Serving", "play_server"]

_NO_LIMIT = 1 << 40  # bytes: the messages are in memory already
_A_DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """Where to serve; see the help."""

    host: str
    port: int
    once: bool
    origins: tuple[str, ...]


async def play_server(
    recording: Recording, speed: float, serving: Serving, stop: asyncio.Event
) -> ExitCode:
    """Serve a recording, until `stop` or the end of the only connection.

    Raises:
        Failure: A message has no frame, or the address cannot be used.
    """
    frames(recording, "incoming")
    numbers = count(1)

    def handler(conn: Connection[Any, Any]) -> Observable[Any]:
        number = next(numbers)
        note(f"connection {number}: opened {conn.handshake.url.path_qs}")
        conn.incoming.subscribe()
        conn.closed.subscribe(lambda close: on_closed(number, conn, close))
        return _messages(recording, speed, conn)

    def on_closed(number: int, conn: Connection[Any, Any], close: Close) -> None:
        stats = conn.flow.stats
        counts = f"sent {stats.sent_messages}, received {stats.received_messages} messages"
        note(f"connection {number}: {describe(close, 'the client')}, {counts}")
        if serving.once:
            stop.set()

    options: dict[str, Any] = {"max_buffer": _NO_LIMIT, "send_timeout": _A_DAY}
    if recording.subprotocol:
        options["protocols"] = [recording.subprotocol]
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
    return ExitCode.DONE


def _messages(recording: Recording, speed: float, conn: Connection[Any, Any]) -> Observable[Any]:
    """Return the messages, and at last the close."""
    close = close_of(recording)
    replayed: Observable[Any] = rx.empty()
    if "incoming" in recording.lanes:
        replayed = recording.replay(speed, codec=codecs.raw)

    def end(_: Any = None, __: Any = None) -> Observable[Any]:
        if close is not None and close.by == "network":
            request = conn.handshake.request
            assert request is not None
            if request.transport is not None:
                request.transport.abort()
            return rx.never()
        try:
            return rx.of(check_sendable(close or Close()))
        except ValueError:  # such as 1005: the close frame had no code
            return rx.of(Close())

    return rx.concat(replayed.pipe(ops.catch(rx.empty())), rx.defer(end))
