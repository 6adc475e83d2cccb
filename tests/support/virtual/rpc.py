"""A JSON-RPC peer on a session in virtual time; the test plays the other side."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import rxws
from rxws._session.session import State
from support.subscriber import PATIENCE
from support.virtual.session import VirtualSession

__all__ = ["VirtualRpc", "end_all", "error", "notification", "request", "result"]


def request(id_: Any, method: str, params: Any = None) -> dict[str, Any]:
    """Return a request; without params if they are None."""
    more = {} if params is None else {"params": params}
    return {"jsonrpc": "2.0", "id": id_, "method": method, **more}


def notification(method: str, params: Any = None) -> dict[str, Any]:
    """Return a notification; without params if they are None."""
    more = {} if params is None else {"params": params}
    return {"jsonrpc": "2.0", "method": method, **more}


def result(id_: Any, value: Any) -> dict[str, Any]:
    """Return an answer with a result."""
    return {"jsonrpc": "2.0", "id": id_, "result": value}


def error(id_: Any, code: int, message: str, **more: Any) -> dict[str, Any]:
    """Return an answer with an error."""
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message, **more}}


class VirtualRpc:
    """A `Peer` of rxws on a session in virtual time.

    Attributes:
        tasks: Tasks that must have ended once the connection has.

    Args:
        methods: The methods of the peer.
        options: Those of the session, and with the prefix `rpc_` those of the peer.
    """

    def __init__(self, methods: rxws.rpc.Methods | None = None, **options: Any) -> None:
        of_peer = {key: options.pop(key) for key in list(options) if key in _PEER_OPTIONS}
        self.session = VirtualSession(**options)
        self.conn = self.session.conn
        self.peer = rxws.rpc.Peer(self.conn, methods, **of_peer)
        self.caller = self.peer.caller
        self.tasks: list[asyncio.Task[Any]] = []
        _OPEN.append(self)

    async def end(self) -> None:
        """Lose the connection, and wait for the tasks."""
        if self.session.session.state is not State.CLOSED:
            self.session.peer.go()
            self.session.peer.lost()
        await self.settle()
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*self.tasks, return_exceptions=True)

    def receive(self, *messages: Any) -> None:
        """Let the other side send messages: text as it is, everything else as JSON."""
        for message in messages:
            text = message if isinstance(message, str | bytes) else json.dumps(message)
            self.session.peer.message(text)

    async def settle(self) -> None:
        """Run tasks and turns until nothing more happens without time passing."""
        for _ in range(10):
            await asyncio.sleep(0)
            self.session.settle()

    @property
    def sent(self) -> list[Any]:
        """The messages that rxws sent."""
        return [json.loads(message) for message in self.session.messages]

    def ask(self, *messages: Any) -> list[Any]:
        """Let the other side send messages, and return what rxws sent since."""
        before = len(self.sent)
        self.receive(*messages)
        return self.sent[before:]


_OPEN: list[VirtualRpc] = []
_PEER_OPTIONS = frozenset(rxws.rpc.PeerOptions.__annotations__)


async def end_all() -> None:
    """End the connections of all peers that were made, and wait for their tasks."""
    while _OPEN:
        await _OPEN.pop().end()
