"""Members of topics, which are present as long as their process renews its lease."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from rxws.hub._backplane import Done, Member
from rxws.hub._errors import BackplaneError

from . import wire
from .commands import Call, Commands
from .connection import Argument
from .keys import Keys
from .scripts import JOIN, LEAVE, MEMBERS, RECONCILE, SWEEP

__all__ = ["Presence"]


class Presence:
    """The members of one process, and those that dead processes have left behind."""

    def __init__(self, commands: Commands, keys: Keys, process: str) -> None:
        self._commands = commands
        self._keys = keys
        self._process = process
        self._members: dict[str, dict[str, Member]] = {}
        self._unsure: set[str] = set()
        """Topics in which Redis may know other members of this process than there are."""

    def join(self, topic: str, member: Member) -> None:
        """Add a member of this process."""
        self._members.setdefault(topic, {})[member.id] = member
        self._change(topic, JOIN, member)

    def leave(self, topic: str, member: Member) -> None:
        """Remove a member of this process."""
        here = self._members.get(topic)
        if here is None or here.pop(member.id, None) is None:
            return
        if not here:
            del self._members[topic]
        self._change(topic, LEAVE, member, "0" if here else "1")

    def read(self, topic: str, done: Done[Mapping[str, Member]]) -> None:
        """Read the members of all living processes."""

        def finish(reply: Any) -> None:
            if isinstance(reply, Exception):
                done(_error(f"the members of {topic!r:.80}", reply))
                return
            members = map(wire.decode_member, reply)
            done({member.id: member for member in members})

        keys = (self._keys.members(topic), self._keys.leases)
        self._commands.push(Call(finish, (), script=MEMBERS, keys=keys))

    def reconcile(self, *, everything: bool) -> None:
        """Correct what Redis knows of this process's members, in all topics or the unsure ones."""
        topics = self._unsure | self._members.keys() if everything else set(self._unsure)
        self._unsure -= topics
        for topic in topics:
            arguments: list[Argument] = [self._process, self._keys.channel(topic), topic]
            for member in self._members.get(topic, {}).values():
                arguments += (member.id, wire.encode_member(member))
            self._push(topic, RECONCILE, arguments)

    def leave_all(self) -> None:
        """Remove all members of this process."""
        self._unsure |= self._members.keys()
        self._members.clear()
        self.reconcile(everything=True)

    def sweep(self, process: str) -> None:
        """Remove the members of a dead process, unless it comes back before."""

        def finish(topics: Any) -> None:
            if isinstance(topics, Exception):
                return  # the next probe tries again
            if not topics:
                remove = ("ZREM", self._keys.leases, process)
                self._commands.push(Call(_ignore, remove))
            for topic in map(bytes.decode, topics):
                keys = (self._keys.members(topic), self._keys.topics(process), self._keys.leases)
                arguments = (process, self._keys.channel(topic), topic)
                self._commands.push(Call(_ignore, arguments, script=SWEEP, keys=keys))

        self._commands.push(Call(finish, ("SMEMBERS", self._keys.topics(process))))

    def _change(self, topic: str, script: Any, member: Member, *more: Argument) -> None:
        channel = self._keys.channel(topic)
        value = wire.encode_member(member)
        self._push(topic, script, [self._process, channel, topic, member.id, value, *more])

    def _push(self, topic: str, script: Any, arguments: list[Argument]) -> None:
        keys = (self._keys.members(topic), self._keys.topics(self._process))
        done = partial(self._check, topic)
        self._commands.push(Call(done, arguments, script=script, keys=keys))

    def _check(self, topic: str, reply: Any) -> None:
        if isinstance(reply, Exception):
            self._unsure.add(topic)


def _ignore(_: Any) -> None:
    """Leave an error to the next probe."""


def _error(what: str, error: Exception) -> BackplaneError:
    if isinstance(error, BackplaneError):
        return error
    return BackplaneError(f"Redis refuses {what}: {error}")
