"""Record the states of a client that reconnects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, cast

from reactivex import Observable, Observer
from reactivex.abc import DisposableBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxws._core.connection import Connection
from rxws._core.streams.stream import Stream
from rxws.status import Status

from .diagram.statuses import recorded
from .lane import Lane

__all__ = ["STATUS", "Client", "watch_status"]

STATUS = "status"  # the name of the lane


class Client(Protocol):
    """A client that reconnects, such as a `WebSocketSubject`."""

    status: Observable[Status]

    @property
    def connection(self) -> Connection[Any, Any] | None:
        """The open connection, or None."""
        ...


def watch_status(
    client: Client, lane: Lane, on_status: Callable[[Status], None] | None = None
) -> DisposableBase:
    """Record the current status of a client, and those that follow, and pass them on."""

    def on_next(status: Status) -> None:
        lane.record("next", recorded(status))
        if on_status is not None:
            on_status(status)

    subscription = cast("Stream[Status]", client.status).watch(Observer(on_next))
    return CompositeDisposable(subscription, Disposable(lambda: lane.record("disposed")))
