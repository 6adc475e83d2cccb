"""The interface between a hub and the engine that connects its processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from ._keep import Keep
from ._messages import Position
from ._status import HubStatus

__all__ = [
    "Backplane",
    "BackplaneReceiver",
    "Done",
    "History",
    "Member",
    "Publication",
    "PublishRequest",
]

T = TypeVar("T")

Done: TypeAlias = Callable[[T | Exception], None]
"""Called once, on the hub's thread, with a result or with the exception that came instead.

It may be called within the call that it belongs to, or later.
"""


class Publication(NamedTuple):
    """A message as the backplane carries it.

    Args:
        payload: The encoded message.
        position: None in a topic that keeps nothing.
    """

    payload: str | bytes
    position: Position | None


class PublishRequest(NamedTuple):
    """A message to publish.

    Args:
        topic: The topic.
        payload: The encoded message.
        keep: How much the topic keeps; with a `count` of 0 the message is not numbered.
        id: If a message with the same id was published before, nothing is published, and the
            result is the position of that message. Ids are remembered as long as the topic keeps
            messages.
    """

    topic: str
    payload: str | bytes
    keep: Keep
    id: str | None = None


class History(NamedTuple):
    """The messages that a topic keeps.

    Args:
        publications: In order, without holes.
        top: The position of the newest message of the topic when reading began, or of a later one;
            offset 0 if there is none. It is that of `publications[-1]`, or newer if `limit` left
            out the newest ones.
        complete: Whether `publications` begins right after `since`.
        began: Where the order before this one ended, if the engine kept messages when positions
            began anew: those up to this offset were published before.
    """

    publications: Sequence[Publication]
    top: Position
    complete: bool
    began: Position | None = None


class Member(NamedTuple):
    """Somebody who is present in a topic.

    Args:
        id: Unique in all processes, such as that of a connection.
        name: The user.
        info: JSON for other members, or empty.
    """

    id: str
    name: str
    info: str = ""


class BackplaneReceiver(Protocol):
    """A hub, as its backplane sees it. All calls happen on the hub's thread."""

    def on_publication(self, topic: str, publication: Publication) -> None:
        """A message has arrived. The hub handles repeated and missing numbered ones."""
        ...

    def on_top(self, topic: str, top: Position) -> None:
        """Report the newest position that a probe, or a new connection, has found.

        The hub reads what it has missed.
        """
        ...

    def on_joined(self, topic: str, member: Member) -> None:
        """A member has joined, in any process."""
        ...

    def on_left(self, topic: str, member: Member) -> None:
        """A member has left, or its process is dead."""
        ...

    def on_members_unknown(self, topic: str | None) -> None:
        """Joins or leaves may have been missed, in all topics if None: the hub asks again."""
        ...

    def on_status(self, status: HubStatus) -> None:
        """The connection to the engine has changed."""
        ...


@runtime_checkable
class Backplane(Protocol):
    """Connects the hubs of several processes: it carries, orders and keeps messages.

    A hub calls it on one thread. Results come by callback, so that a backplane works in virtual
    time and adds no task per message.

    Hubs rely on this when the engine is away:

    - `on_status(Away(...))` comes before the first callback that fails because of it. The hub then
      lets such a message, read or attachment wait until `on_status(Connected())`. Failures at any
      other time are final, or tried again after a second.
    - If the backplane has several engines and only some are away, `available` says which topics
      work. When one of them is back, `on_status` is called with what is still true: `Away`.
    - When the engine is back, `on_top` reports the newest position of each attached topic
      that keeps messages, and `on_members_unknown` is called.
    - Topics that keep nothing go on within the process: `attach` succeeds, and `publish` delivers
      to this hub although it fails.
    """

    async def start(self, receiver: BackplaneReceiver) -> None:
        """Connect.

        Raises:
            BackplaneError: The engine cannot be reached, has the wrong version, or refuses the
                password.
        """
        ...

    async def stop(self) -> None:
        """Leave all topics, cancel what runs, and disconnect."""
        ...

    def available(self, topic: str) -> bool:
        """Return whether the engine of a topic is connected; asked while the status is `Away`."""
        ...

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        """Publish a message; messages of one hub keep their order.

        `done` gets the position, or `Unconfirmed` if it is not known whether it was published, or
        another `BackplaneError` if it was certainly not.
        """
        ...

    def read(
        self,
        topic: str,
        since: Position | None,
        limit: int | None,
        done: Done[History],
        *,
        oldest: bool = False,
    ) -> None:
        """Read what a topic keeps after a position, or all of it.

        `limit` keeps the newest of these messages, or the oldest ones with `oldest`.
        """
        ...

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        """Receive a topic's messages and members from now on.

        `done` gets the newest position at a moment from which on every message is received; None
        in a topic that keeps nothing.
        """
        ...

    def detach(self, topic: str) -> None:
        """Stop receiving a topic."""
        ...

    def join(self, topic: str, member: Member) -> None:
        """Make a member present until `leave`, or until this process is dead."""
        ...

    def leave(self, topic: str, member: Member) -> None:
        """Undo `join`."""
        ...

    def members(self, topic: str, done: Done[Mapping[str, Member]]) -> None:
        """Read the members of a topic by their ids."""
        ...
