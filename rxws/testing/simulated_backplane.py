"""A backplane in virtual time whose engine and processes can fail."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from rxws._core.checks import check_seconds
from rxws._core.schedulers.timers import Deadline
from rxws.hub import (
    Away,
    BackplaneError,
    BackplaneReceiver,
    Connected,
    Done,
    History,
    Keep,
    LocalBackplane,
    Member,
    Position,
    Publication,
    PublishRequest,
)

from .clock import Clock, check_clock

__all__ = ["SimulatedBackplane"]


class _State(Enum):
    CONNECTED = auto()
    AWAY = auto()
    DEAD = auto()


class SimulatedBackplane(LocalBackplane):
    """A `rxws.hub.LocalBackplane` that plays several processes, and can fail as Redis does.

    Pass it to one hub, and `peer()` to each further one, which plays another process.

    Args:
        clock: The clock of the hubs.
        lease: Seconds after which the members of a process disappear if it is dead or cut off.

    Raises:
        TypeError: `clock` is no `Clock`, or `lease` is no number.
        ValueError: `lease` is not above 0.

    Examples:
        ```python
        clock = Clock()
        backplane = SimulatedBackplane(clock)
        one = rxws.Hub(backplane=backplane, scheduler=clock)
        two = rxws.Hub(backplane=backplane.peer(), scheduler=clock)
        backplane.kill()     # the process of the first hub
        clock.run(10)        # the second one has seen its members leave
        ```
    """

    def __init__(self, clock: Clock, *, lease: float = 10.0) -> None:
        check_seconds("lease", lease)
        super().__init__(check_clock(clock))
        self._clock = clock
        self._lease = lease
        self._state = _State.CONNECTED
        self._expiry = Deadline(clock)
        self._attached: dict[str, Keep] = {}
        self._registered: dict[tuple[str, str], Member] = {}  # what the engine knows of ours

    def peer(self) -> SimulatedBackplane:
        """Return a backplane for another hub, as in another process, with the same engine."""
        peer = SimulatedBackplane(self._clock, lease=self._lease)
        peer._broker = self._broker
        return peer

    def disconnect(self) -> None:
        """Cut this hub off from the engine; its status becomes `Away`, and connections live on.

        It neither gets nor publishes numbered messages. Unnumbered ones go on within the hub. After
        the lease, other hubs see its members leave.
        """
        if self._state is _State.CONNECTED:
            self._cut(_State.AWAY)
            if self._receiver is not None:
                cause = BackplaneError("SimulatedBackplane.disconnect() was called")
                self._receiver.on_status(Away(self._clock.time, cause))

    def reconnect(self) -> None:
        """Undo `disconnect`: the hub reads what it has missed, and its members are back."""
        if self._state is not _State.AWAY:
            return
        self._state = _State.CONNECTED
        self._expiry.clear()
        receiver = self._receiver
        if receiver is None:  # the hub has not started, or has stopped meanwhile
            self._expire()
            return
        tops = {
            topic: self._broker.attach(topic, keep, receiver)
            for topic, keep in self._attached.items()
        }
        for (topic, id_), member in list(self._registered.items()):
            if (topic, id_) not in self._members:
                self._unregister(topic, member)
        for (topic, id_), member in self._members.items():
            if (topic, id_) not in self._registered:
                self._register(topic, member)
        receiver.on_status(Connected())
        for topic, top in tops.items():
            if top is not None:
                receiver.on_top(topic, top)
        receiver.on_members_unknown(None)

    def kill(self) -> None:
        """End the process of this hub as `kill -9` does: other hubs see its members leave late.

        Nothing reaches the hub any more, and nothing that it does reaches others. End the
        connections of the process yourself, by a `#` in their marbles, if you look at them.
        """
        if self._state is not _State.DEAD:
            self._cut(_State.DEAD)

    def _cut(self, state: _State) -> None:
        if self._state is _State.CONNECTED:
            self._expiry.set(self._lease, self._expire)
        self._state = state
        if self._receiver is not None:
            for topic in self._attached:
                self._broker.detach(topic, self._receiver)

    def _expire(self) -> None:
        for (topic, _), member in list(self._registered.items()):
            self._unregister(topic, member)

    def _register(self, topic: str, member: Member) -> None:
        self._registered[topic, member.id] = member
        self._broker.join(topic, member)

    def _unregister(self, topic: str, member: Member) -> None:
        if self._registered.pop((topic, member.id), None) is not None:
            self._broker.leave(topic, member)

    def _away(self) -> BackplaneError:
        return BackplaneError("the simulated backplane is away")

    # --- what a hub calls -------------------------------------------------------------------

    def connect(self, receiver: BackplaneReceiver) -> None:
        """Do as `start`, without an event loop.

        Raises:
            BackplaneError: `disconnect` was called.
            RuntimeError: The backplane serves another hub.
        """
        if self._state is _State.AWAY:
            raise self._away()
        super().connect(receiver)

    async def stop(self) -> None:
        """See `Backplane`."""
        if self._state is _State.CONNECTED:
            self._members.clear()  # `super` would remove them from the engine itself
            self._expire()
        await super().stop()
        self._attached.clear()

    def available(self, topic: str) -> bool:
        """See `Backplane`."""
        del topic
        return self._state is not _State.AWAY

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        if self._state is _State.CONNECTED:
            super().publish(request, done)
            return
        is_local = self._state is _State.AWAY and not request.keep.count
        if is_local and self._receiver is not None and request.topic in self._attached:
            self._receiver.on_publication(request.topic, Publication(request.payload, None))
        done(self._away())

    def read(
        self,
        topic: str,
        since: Position | None,
        limit: int | None,
        done: Done[History],
        *,
        oldest: bool = False,
    ) -> None:
        """See `Backplane`."""
        if self._state is _State.CONNECTED:
            super().read(topic, since, limit, done, oldest=oldest)
        elif self._state is _State.AWAY:
            done(self._away())

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        if self._state is _State.CONNECTED:
            self._attached[topic] = keep
            super().attach(topic, keep, done)
        elif self._state is _State.AWAY and keep.count:
            done(self._away())
        elif self._state is _State.AWAY:
            self._attached[topic] = keep
            done(None)

    def detach(self, topic: str) -> None:
        """See `Backplane`."""
        self._attached.pop(topic, None)
        super().detach(topic)

    def join(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        self._members[topic, member.id] = member
        if self._state is _State.CONNECTED:
            self._register(topic, member)

    def leave(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        self._members.pop((topic, member.id), None)
        if self._state is _State.CONNECTED:
            self._unregister(topic, member)

    def members(self, topic: str, done: Done[Mapping[str, Member]]) -> None:
        """See `Backplane`."""
        if self._state is _State.CONNECTED:
            super().members(topic, done)
        elif self._state is _State.AWAY:
            done(self._away())
