"""What rxws touches of aiohttp that aiohttp does not promise to keep, all of it."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import ClientResponse, ClientWebSocketResponse

__all__ = ["client_response", "client_transport", "end_of_stream", "take_over_closing"]


def client_response(ws: ClientWebSocketResponse[Any]) -> ClientResponse:
    """Return the response of the upgrade: its headers and its connection are public, it is not."""
    return ws._response  # pyright: ignore[reportPrivateUsage] # see the module


def client_transport(ws: ClientWebSocketResponse[Any]) -> asyncio.Transport | None:
    """Return the transport below a client's WebSocket; None where it is lost already."""
    connection = client_response(ws).connection
    return None if connection is None else connection.transport


def take_over_closing(ws: ClientWebSocketResponse[Any]) -> None:
    """Let `receive()` report an end without answering it.

    A subclass would do on a session of ours (`ws_response_class`), but not on one of the user's.
    """

    async def close(**_: Any) -> bool:
        return False

    ws.close = close  # type: ignore[method-assign] # on this one object, as said above


def end_of_stream(ws: Any) -> None:
    """Let `receive()` report the end behind what it has still to give, with the transport open.

    aiohttp's protocols tell its reader so when the connection is lost, which for a peer that has
    only half-closed is too early.
    """
    ws._reader.feed_eof()
