"""Handlers for those who have none yet."""

from __future__ import annotations

from typing import Any

from reactivex import Observable

import rxws

__all__ = ["broadcast", "echo"]


def echo(conn: rxws.Connection[Any, Any]) -> None:
    """Send each message back."""
    conn.incoming.subscribe(conn.outgoing)


def broadcast() -> rxws.Handler[Any, Any]:
    """Return a handler that sends each message to all clients."""
    everyone = rxws.Hub().topic("everyone")

    def handler(conn: rxws.Connection[Any, Any]) -> Observable[Any]:
        conn.incoming.subscribe(everyone)
        return everyone

    return handler
