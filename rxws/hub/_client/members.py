"""The members of a topic, as its server reports them."""

from __future__ import annotations

from typing import Protocol

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.schedulers.timers import call_later
from rxws._core.streams.stream import Dispatcher, Fault, RestartableStream
from rxws.hub._protocol.codes import ErrorReply
from rxws.hub._protocol.schema import ClientInfo, PresenceRequest, PresenceResult, Request, Result

from .errors import refusal
from .replies import Lost, OnReply, is_temporary

__all__ = ["Members"]

_RETRY = 1.0  # seconds


class MembersHost(Protocol):
    """The topic; see `SubscribedTopic`."""

    name: str

    @property
    def dispatcher(self) -> Dispatcher: ...
    @property
    def scheduler(self) -> SchedulerBase: ...
    @property
    def live(self) -> bool: ...
    def on_subscribers_changed(self) -> None: ...
    def on_members_wanted(self) -> None: ...
    def call(self, request: Request, expects: type[Result], on_reply: OnReply) -> None: ...


class Members:
    """The names of the members: read when the topic is subscribed, and then changed.

    Attributes:
        stream: Emits the names whenever they change.
    """

    def __init__(self, topic: MembersHost, on_fault: Fault) -> None:
        self.stream: RestartableStream[frozenset[str]] = RestartableStream(
            topic.dispatcher, on_fault, self._on_changed
        )
        self._topic = topic
        self._users: dict[str, str] = {}  # by the id of the connection
        self._changes: list[tuple[ClientInfo, bool]] = []  # since reading began
        self._reading = False
        self._names: frozenset[str] | None = None  # as they were emitted
        self._emitting = False

    def _on_changed(self) -> None:
        self._topic.on_subscribers_changed()
        if self.stream.observed and self._names is None and not self._reading:
            self._topic.on_members_wanted()

    def subscribe(self, observer: ObserverBase[frozenset[str]]) -> DisposableBase:
        """Emit the names now, if they are known, and whenever they change."""
        subscription = self.stream.subscribe(observer)
        if self._names is not None:
            observer.on_next(self._names)
        return subscription

    def read(self) -> None:
        """Ask who is present."""
        if not self._reading:
            self._reading = True
            self._changes.clear()
            self._topic.call(PresenceRequest(self._topic.name), PresenceResult, self._on_read)

    def on_joined(self, info: ClientInfo) -> None:
        self._change(info, present=True)

    def on_left(self, info: ClientInfo) -> None:
        self._change(info, present=False)

    def _change(self, info: ClientInfo, *, present: bool) -> None:
        if self._reading:
            self._changes.append((info, present))
        if present:
            self._users[info.client] = info.user
        else:
            self._users.pop(info.client, None)
        self._emit_soon()

    def _on_read(self, reply: PresenceResult | ErrorReply | Lost) -> None:
        self._reading = False
        if isinstance(reply, PresenceResult):
            self._users = {key: info.user for key, info in reply.presence.items()}
            for info, present in self._changes:
                self._change(info, present=present)
            self._emit_soon()
        elif isinstance(reply, ErrorReply) and is_temporary(reply):
            call_later(self._topic.scheduler, _RETRY, self._read_if_live)
        elif isinstance(reply, ErrorReply):
            finish = self.stream.finish_subscribers()
            error = refusal("presence", self._topic.name, reply)
            self._topic.dispatcher.post(finish, error)

    def _read_if_live(self) -> None:
        if self._topic.live and self.stream.observed:
            self.read()

    def _emit_soon(self) -> None:
        if not self._emitting:
            self._emitting = True
            call_later(self._topic.scheduler, 0, self._emit)

    def _emit(self) -> None:
        self._emitting = False
        names = frozenset(user for user in self._users.values() if user)
        if names != self._names:
            self._names = names
            self.stream.emit(names)
