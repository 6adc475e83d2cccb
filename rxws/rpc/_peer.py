"""`Peer`: both directions of JSON-RPC 2.0 on one connection."""

from __future__ import annotations

from typing import Any, Unpack

from reactivex.abc import DisposableBase

from rxws._core.connection import Connection, Handler

from ._caller import Caller
from ._endpoint import RpcStats
from ._methods import Methods
from ._options import CallOptions, Options, PeerOptions
from ._requests import Requests
from ._router import Router
from ._wire import Source

__all__ = ["Peer", "serve"]


class Peer(DisposableBase):
    """Answer requests of the other side and call its methods, by JSON-RPC 2.0.

    A peer owns `incoming` of its connection: do not subscribe to it yourself. It ends with the
    connection: running methods are cancelled, and calls without an answer fail. A handler may
    return the peer. Use a peer on the event loop of its connection only.

    Args:
        source: A connection, or a `WebSocketSubject`, whose codec is `raw` or `text`.
        methods: The methods that the other side may call; by default none.
        **options: See `PeerOptions`.

    Attributes:
        caller: Calls methods of the other side.

    Raises:
        TypeError: `source` is neither a `Connection` nor a `WebSocketSubject`, or has another
            codec; `methods` is not a `Methods`; or an option is unknown or has the wrong type.
        ValueError: An option is out of range.
        RuntimeError: The source has another peer or caller, or belongs to another event loop.

    Examples:
        ```python
        def handler(conn):
            peer = rxws.rpc.Peer(conn, methods)
            peer.caller.notify("welcome", "to the server")
            return peer
        ```
    """

    def __init__(
        self, source: Source, methods: Methods | None = None, **options: Unpack[PeerOptions]
    ) -> None:
        check_methods(methods)
        self._router = Router(source, Options.of("rxws.rpc.Peer", options))
        endpoint = self._router.endpoint
        self.caller: Caller[Any] = Caller.of(endpoint, self._router.calls, CallOptions())
        if methods is not None:
            self._router.requests = Requests(endpoint, methods, self.caller)
        self._router.start()

    @property
    def stats(self) -> RpcStats:
        """The counters so far."""
        return self._router.stats

    def dispose(self) -> None:
        """Stop: cancel the methods that run, and fail the calls that have no answer.

        The connection stays open. The other side gets the error -32800 for its requests that run,
        and is asked to cancel yours. A `WebSocketSubject` closes its connection if it has no other
        subscriber.
        """
        self._router.endpoint.run(self._router.dispose)

    def __repr__(self) -> str:
        stats = self.stats
        return f"<Peer {self._router.endpoint.where} running={stats.running} calls={stats.calls}>"


def check_methods(methods: object) -> None:
    if methods is not None and not isinstance(methods, Methods):
        raise TypeError(
            f"methods={methods!r:.100} is not a Methods: make a rxws.rpc.Methods(), and add "
            "functions to it"
        )


def serve(methods: Methods, **options: Unpack[PeerOptions]) -> Handler[Any, Any]:
    """Make a handler that answers requests by JSON-RPC 2.0.

    Args:
        methods: The methods that clients may call.
        **options: See `PeerOptions`.

    Returns:
        A handler for any number of connections.

    Raises:
        TypeError: `methods` is not a `Methods`, or an option is unknown or has the wrong type.
        ValueError: An option is out of range.

    Examples:
        ```python
        app.router.add_get("/rpc", rxws.websocket(rxws.rpc.serve(methods)))
        ```
    """
    check_methods(methods)
    Options.of("rxws.rpc.serve", options)

    def handler(conn: Connection[Any, Any]) -> DisposableBase:
        return Peer(conn, methods, **options)

    return handler
