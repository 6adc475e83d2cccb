"""The members of topics: those of this hub, and those that the backplane reports."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from enum import Enum, auto
from functools import cached_property, partial
from itertools import count
from secrets import token_hex
from typing import Any, NamedTuple, Protocol, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable

from rxws import codecs
from rxws._core.schedulers.timers import Deadline, call_later, raise_soon
from rxws._core.streams.stream import Dispatcher, ReplayStream, Stream
from rxws._session.encoding import encode

from ._backplane import Backplane, Done, Member
from ._host import HubHost
from ._names import check_user
from ._observable import HubObservable

__all__ = ["Presence", "PresenceChange", "PresenceHost", "Presences"]

T = TypeVar("T")

_RETRY = 1.0  # seconds


class PresenceChange(NamedTuple):
    """The changes of one turn, without members that joined and left within it."""

    left: tuple[Member, ...]
    joined: tuple[Member, ...]


class _State(Enum):
    NEW = auto()
    READING = auto()
    READING_AGAIN = auto()  # joins or leaves were missed since, so the answer will be outdated
    RETRYING = auto()
    READ = auto()
    STOPPED = auto()


class Presence:
    """The members of one topic while it is attached.

    The members of this hub are known exactly, so what the backplane reports about them is ignored.
    All others come from a read, and from the joins and leaves that arrive since. If joins or leaves
    may have been missed, or the read fails, the known members stay until the next read.

    Args:
        topic: The topic.
        backplane: The backplane.
        scheduler: The hub's scheduler.
        own: The ids of this hub begin with this.

    Attributes:
        subscribers: The number of subscriptions that use this.
        attachment: Keeps the topic attached for them.
        known: Whether a read was answered.
        members: The known members by their ids.
        names: Emits the names whenever they have changed, first the latest ones. It emits nothing
            before a read was answered.
        changes: Emits each `PresenceChange`, but not the members that the first read has found.
    """

    __slots__ = (
        "_backplane",
        "_before",
        "_counts",
        "_flushing",
        "_latest",
        "_meanwhile",
        "_own",
        "_retry",
        "_scheduler",
        "_state",
        "_topic",
        "attachment",
        "changes",
        "known",
        "members",
        "names",
        "subscribers",
    )

    def __init__(
        self,
        topic: str,
        backplane: Backplane,
        scheduler: SchedulerBase,
        own: str,
        members: Mapping[str, Member],
    ) -> None:
        self._topic = topic
        self._backplane = backplane
        self._scheduler = scheduler
        self._own = own
        self._state = _State.NEW
        self._retry = Deadline(scheduler)
        self._meanwhile: dict[str, Member | None] = {}  # the latest by id, while reading
        self._before: dict[str, Member | None] = {}  # those that changed in this turn, by id
        self._flushing = False
        self._latest: frozenset[str] | None = None  # what `names` has emitted
        self.subscribers = 0
        self.attachment: DisposableBase = Disposable()
        self.known = False
        self.members = dict(members)
        self._counts = Counter(member.name for member in members.values())
        dispatcher = Dispatcher(scheduler)
        fault = partial(raise_soon, scheduler)
        self.names: ReplayStream[frozenset[str]] = ReplayStream(dispatcher, fault)
        self.changes: Stream[PresenceChange] = Stream(dispatcher, fault)

    def read(self) -> None:
        """Read the members: the topic is attached, or joins or leaves may have been missed."""
        match self._state:
            case _State.READING:
                self._state = _State.READING_AGAIN
            case _State.NEW | _State.READ | _State.RETRYING:
                self._state = _State.READING
                self._retry.clear()
                self._meanwhile.clear()
                self._backplane.members(self._topic, self._on_read)
            case _:
                pass  # an answer is outdated already, or nobody is subscribed

    def stop(self) -> None:
        """Complete the subscribers, and ignore all later calls."""
        self._state = _State.STOPPED
        self._retry.clear()
        self.names.end()
        self.changes.end()

    def on_reported(self, member_id: str, member: Member | None) -> None:
        """Add a member that the backplane has reported, or remove it if it is None."""
        if member_id.startswith(self._own):
            return
        if self._state is _State.READING:
            # The answer shows the members at a moment before or after this. Each report that is
            # older than the answer is in it, or a later report of the same member is on its way.
            self._meanwhile[member_id] = member
        self.set(member_id, member)

    def _on_read(self, result: Mapping[str, Member] | Exception) -> None:
        if self._state is _State.STOPPED:
            return
        again = self._state is _State.READING_AGAIN
        if isinstance(result, Exception):
            self._state = _State.RETRYING
            self._retry.set(_RETRY, self.read)
            return
        self._state = _State.READ
        if again:
            self.read()
            return
        found = {
            member_id: member
            for member_id, member in {**result, **self._meanwhile}.items()
            if member is not None and not member_id.startswith(self._own)
        }
        gone = [
            member_id
            for member_id in self.members
            if member_id not in found and not member_id.startswith(self._own)
        ]
        for member_id in gone:
            self.set(member_id, None)
        for member_id, member in found.items():
            self.set(member_id, member, report=self.known)
        self._meanwhile.clear()
        if not self.known:
            self.known = True
            self._flush_soon()

    def set(self, member_id: str, member: Member | None, *, report: bool = True) -> None:
        """Add a member, or remove it if it is None; without `report`, it is no change."""
        before = self.members.get(member_id)
        if before == member:
            return
        if before is not None:
            del self.members[member_id]
            self._counts[before.name] -= 1
            if not self._counts[before.name]:
                del self._counts[before.name]
        if member is not None:
            self.members[member_id] = member
            self._counts[member.name] += 1
        if report:
            self._before.setdefault(member_id, before)
            self._flush_soon()

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            call_later(self._scheduler, 0, self._flush)

    def _flush(self) -> None:
        """Emit what has changed in this turn."""
        self._flushing = False
        if self._state is _State.STOPPED:
            return
        changed, self._before = self._before, {}
        left: list[Member] = []
        joined: list[Member] = []
        for member_id, before in changed.items():
            now = self.members.get(member_id)
            if before != now:
                if before is not None:
                    left.append(before)
                if now is not None:
                    joined.append(now)
        if left or joined:
            self.changes.emit(PresenceChange(tuple(left), tuple(joined)))
        if self.known and self._names_changed(left, joined):
            self._latest = frozenset(self._counts)
            self.names.emit(self._latest)

    def _names_changed(self, *changed: list[Member]) -> bool:
        return (latest := self._latest) is None or any(
            (member.name in self._counts) != (member.name in latest)
            for members in changed
            for member in members
        )


class PresenceHost(HubHost, Protocol):
    """What `Presences` needs of its hub; see `TopicRegistry`."""

    def hold(self, topic: str) -> DisposableBase:
        """Keep a topic attached until the result is disposed.

        `Presences.on_attached` is called when it is attached for the first time, or again.
        """
        ...

    def is_attached(self, topic: str) -> bool:
        """Return whether messages and members of a topic arrive."""
        ...


class Presences:
    """The members of all topics of a hub."""

    def __init__(self, host: PresenceHost) -> None:
        self._host = host
        self._observed: dict[str, Presence] = {}
        self._own: dict[str, dict[str, Member]] = {}  # by topic and id
        self._ids = count(1)

    @cached_property
    def _prefix(self) -> str:
        return f"{token_hex(8)}-"  # made when the hub runs, so that forked processes differ

    @property
    def own_members(self) -> int:
        """The number of members that have joined here."""
        return sum(map(len, list(self._own.values())))

    def new_id(self) -> str:
        """Return a new id for a connection, which is unique in all processes."""
        return f"{self._prefix}{next(self._ids):x}"

    # --- members of this hub ----------------------------------------------------------------

    def join(self, topic: str, member: Member) -> DisposableBase:
        """Make a member present until the result is disposed; its id is from `new_id`."""
        self._host.prepare(f"a member of topic {topic!r:.80} has joined")
        self._own.setdefault(topic, {})[member.id] = member
        self._host.backplane.join(topic, member)
        self._set(topic, member.id, member)
        return self._disposable(partial(self._leave, topic, member))

    def joined(self, topic: str, name: str, info: Any = None) -> Observable[Any]:
        """Return what `topic.joined` returns."""
        check_user(name)
        text = "" if info is None else encode(codecs.json, info)[1].decode()

        def subscribe(_: ObserverBase[Any], __: SchedulerBase | None = None) -> DisposableBase:
            return self.join(topic, Member(self.new_id(), name, text))

        return HubObservable(self._host.default_scheduler, subscribe)

    def _leave(self, topic: str, member: Member) -> None:
        own = self._own.get(topic, {})
        if own.pop(member.id, None) is None:  # the hub has stopped
            return
        if not own:
            del self._own[topic]
        self._host.backplane.leave(topic, member)
        self._set(topic, member.id, None)

    def _set(self, topic: str, member_id: str, member: Member | None) -> None:
        if (presence := self._observed.get(topic)) is not None:
            presence.set(member_id, member)

    # --- members of all hubs ----------------------------------------------------------------

    def names(self, topic: str) -> Observable[frozenset[str]]:
        """Return what `topic.presence` returns."""
        return self._observe(topic, lambda presence: presence.names)

    def changes(self, topic: str) -> Observable[PresenceChange]:
        """Return an Observable of all joins and leaves; see `Presence.changes`."""
        return self._observe(topic, lambda presence: presence.changes)

    def read(self, topic: str, done: Done[Mapping[str, Member]]) -> None:
        """Read the members of a topic by their ids, which need not be attached."""
        presence = self._observed.get(topic)
        if presence is not None and presence.known:
            done(dict(presence.members))
            return

        def on_read(result: Mapping[str, Member] | Exception) -> None:
            if isinstance(result, Exception):
                done(result)
                return
            others = {key: each for key, each in result.items() if not key.startswith(self._prefix)}
            done({**others, **self._own.get(topic, {})})

        self._host.backplane.members(topic, on_read)

    def on_attached(self, topic: str) -> None:
        """Read the members of a topic that is attached for the first time, or again."""
        if (presence := self._observed.get(topic)) is not None:
            presence.read()

    def on_joined(self, topic: str, member: Member) -> None:
        """See `BackplaneReceiver`."""
        self._on_reported(topic, member.id, member)

    def on_left(self, topic: str, member: Member) -> None:
        """See `BackplaneReceiver`."""
        self._on_reported(topic, member.id, None)

    def _on_reported(self, topic: str, member_id: str, member: Member | None) -> None:
        if (presence := self._observed.get(topic)) is not None:
            presence.on_reported(member_id, member)

    def on_members_unknown(self, topic: str | None) -> None:
        """See `BackplaneReceiver`."""
        for each in list(self._observed) if topic is None else [topic]:
            if self._host.is_attached(each):
                self.on_attached(each)

    def stop(self) -> None:
        """Forget all members, after the backplane has stopped."""
        observed, self._observed = self._observed, {}
        self._own.clear()
        for each in observed.values():
            each.stop()

    def _observe(self, topic: str, stream_of: Callable[[Presence], Stream[T]]) -> Observable[T]:
        def subscribe(
            observer: ObserverBase[T], scheduler: SchedulerBase | None = None
        ) -> DisposableBase:
            presence = self._acquire(topic)
            return CompositeDisposable(
                stream_of(presence).subscribe(observer, scheduler=scheduler),
                self._disposable(partial(self._release, topic, presence)),
            )

        return HubObservable(self._host.default_scheduler, subscribe)

    def _disposable(self, action: Callable[[], None]) -> DisposableBase:
        return Disposable(lambda: self._host.run(action))

    def _acquire(self, topic: str) -> Presence:
        self._host.prepare(f"the presence of topic {topic!r:.80} was subscribed")
        presence = self._observed.get(topic)
        if presence is None:
            own = self._own.get(topic, {})
            presence = Presence(
                topic, self._host.backplane, self._host.scheduler, self._prefix, own
            )
            self._observed[topic] = presence
            attached = self._host.is_attached(topic)
            presence.attachment = self._host.hold(topic)
            if attached:
                presence.read()
        presence.subscribers += 1
        return presence

    def _release(self, topic: str, presence: Presence) -> None:
        presence.subscribers -= 1
        if not presence.subscribers:
            if self._observed.get(topic) is presence:  # otherwise the hub has stopped
                del self._observed[topic]
                presence.stop()
            presence.attachment.dispose()
