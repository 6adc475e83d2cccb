"""One Redis server: two connections that are kept up, and the topics that are on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from redis.exceptions import ResponseError

from rxws.backoff import Backoff
from rxws.hub._backplane import (
    BackplaneReceiver,
    Done,
    History,
    Member,
    Publication,
    PublishRequest,
)
from rxws.hub._errors import BackplaneError
from rxws.hub._keep import Keep
from rxws.hub._messages import Position
from rxws.hub._status import Away, Connected, HubStatus

from . import scripts, wire
from .address import Address
from .commands import Call, Commands
from .connection import FencedConnection, describe
from .history import HistoryRead
from .keys import Keys
from .presence import Presence
from .publisher import Publisher, head_milliseconds
from .receiver import Receiver
from .rights import check_rights

__all__ = ["Shard", "ShardOptions"]

_TOPICS_PER_PROBE = 200  # whose positions are compared; all are compared after a reconnection
_STABLE = 5.0  # seconds after which a connection counts as good, so that the backoff starts anew


@dataclass(frozen=True)
class ShardOptions:
    """The options of `RedisBackplane`, and the name of the process."""

    prefix: str
    process: str
    probe_interval: float
    timeout: float
    lease: float
    remember_ids: float
    backoff: Backoff


@dataclass
class _Attachment:
    keep: Keep
    waiting: list[Done[Position | None]]
    subscribed: bool = False


class _Role(Protocol):
    """One of the two connections, `Commands` or `Receiver`."""

    @property
    def connected(self) -> bool: ...

    async def run(self, connection: FencedConnection) -> None: ...


class Shard:
    """A backplane on one server."""

    def __init__(self, address: Address, options: ShardOptions) -> None:
        self._address = address
        self._options = options
        self._process = options.process
        self._keys = keys = Keys(options.prefix, address.database)
        self._commands = Commands(address.shown)
        self._receiver = Receiver(self, keys.own_channel(options.process))
        self._publisher = Publisher(
            self._commands,
            keys,
            options.process,
            remember_ids=options.remember_ids,
            deliver=self._deliver,
        )
        self._presence = Presence(self._commands, keys, options.process)
        self._hub: BackplaneReceiver | None = None
        self._topics: dict[str, _Attachment] = {}
        self._compared: dict[str, None] = {}
        """The attached topics that keep messages, those next to compare first."""
        self._open: dict[_Role, FencedConnection] = {}
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last_id = 0
        self._fence = ""
        self._tasks: list[asyncio.Task[None]] = []
        self._status: HubStatus = Connected()
        self._receiving = False
        """Whether every attached topic is subscribed to."""
        self._accepted = False
        """Whether Redis has answered a probe on this connection."""
        self._token = 0
        self._token_sent: float | None = None
        self._leased = False
        self._sweep_from = 0.0

    async def start(self, hub: BackplaneReceiver) -> None:
        """Open both connections.

        Raises:
            BackplaneError: Redis cannot be reached, or refuses what a hub needs.
        """
        timeout = self._options.timeout
        commands = await FencedConnection.open(self._address, timeout, scripts.ALL)
        try:
            await check_rights(commands, self._keys, self._process, timeout)
            receiver = await FencedConnection.open(self._address, timeout)
        except BaseException:
            await commands.close()
            raise
        self._hub = hub
        self._fence = commands.fence
        self._tasks = [
            asyncio.create_task(self._keep_connected(self._commands, commands)),
            asyncio.create_task(self._keep_connected(self._receiver, receiver)),
            asyncio.create_task(self._probe_forever()),
        ]
        await self._ready

    async def stop(self) -> None:
        """Remove this process's members, and disconnect."""
        if self._commands.connected:
            gone = asyncio.Event()
            self._presence.leave_all()
            removal = ("ZREM", self._keys.leases, self._process)
            self._commands.push(Call(lambda _: gone.set(), removal))
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.timeout):
                    await gone.wait()
        self._hub = None
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        stopped = BackplaneError("the backplane is stopped")
        for attachment in self._topics.values():
            _settle(attachment, stopped)
        self._topics.clear()

    # What the hub calls.

    @property
    def available(self) -> bool:
        """See `Backplane`."""
        return isinstance(self._status, Connected)

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        self._publisher.publish(request, done)

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
        attachment = self._topics.get(topic)
        expire = head_milliseconds(attachment.keep if attachment else Keep.latest())
        HistoryRead(
            self._commands, self._keys, self._process, topic, since, limit, done,
            oldest=oldest, expire=expire,
        )  # fmt: skip

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        self._topics[topic] = attachment = _Attachment(keep, [done])
        if keep.count:
            self._compared[topic] = None
        self._receiver.subscribe(self._keys.channel(topic))
        if not keep.count and not self._receiver.connected:
            _settle(attachment, None)  # it goes on in this process while Redis is away

    def detach(self, topic: str) -> None:
        """See `Backplane`."""
        attachment = self._topics.pop(topic, None)
        if attachment is not None:
            self._compared.pop(topic, None)
            self._receiver.unsubscribe(self._keys.channel(topic))
            _settle(attachment, BackplaneError(f"{topic!r:.80} was detached"))

    def join(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        self._presence.join(topic, member)

    def leave(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        self._presence.leave(topic, member)

    def members(self, topic: str, done: Done[Mapping[str, Member]]) -> None:
        """See `Backplane`."""
        self._presence.read(topic, done)

    # What the receiver calls.

    def on_subscribed(self, channel: str) -> None:
        """Ask for the position from which on messages arrive."""
        topic = self._keys.topic(channel)
        if topic is None:
            self._receiving = True
            self._connected()
            return
        attachment = self._topics.get(topic)
        if attachment is None:
            return
        attachment.subscribed = True
        if not attachment.keep.count:
            _settle(attachment, None)
        elif self._commands.connected:
            self._ask_top(topic, attachment)

    def on_data(self, channel: str, data: bytes) -> None:
        """Pass a message on."""
        topic = self._keys.topic(channel)
        if topic is None:
            if data == str(self._token).encode():
                self._token_sent = None
            return
        if topic not in self._topics or self._hub is None:
            return
        kind = data[:1]
        if kind in (wire.TEXT, wire.BINARY):
            self._hub.on_publication(topic, wire.decode_numbered(data))
        elif kind in (wire.UNNUMBERED_TEXT, wire.UNNUMBERED_BINARY):
            process, publication = wire.decode_unnumbered(data)
            if process != self._process:  # this one has delivered it at once
                self._hub.on_publication(topic, publication)
        elif kind == wire.JOINED:
            self._hub.on_joined(topic, wire.decode_member(data[1:]))
        elif kind == wire.LEFT:
            self._hub.on_left(topic, wire.decode_member(data[1:]))

    # The connections.

    async def _keep_connected(self, role: _Role, connection: FencedConnection | None) -> None:
        waits = self._options.backoff()
        loop = asyncio.get_running_loop()
        while True:
            opened = loop.time()
            try:
                if connection is None:
                    its_scripts = scripts.ALL if role is self._commands else ()
                    connection = await FencedConnection.open(
                        self._address, self._options.timeout, its_scripts
                    )
                    opened = loop.time()
                await self._run(role, connection)
            except Exception as exc:  # redis-py raises others, too, if its socket is closed
                self._away(describe(self._address.shown, exc))
            finally:
                if role is self._commands:
                    # After the status: then the hub lets wait what fails.
                    self._commands.lose()
                    self._accepted = False
                self._open.pop(role, None)
                if connection is not None:
                    await connection.close()
            if connection is not None and loop.time() - opened > _STABLE:
                waits = self._options.backoff()
            connection = None
            await asyncio.sleep(next(waits, self._options.probe_interval))

    async def _run(self, role: _Role, connection: FencedConnection) -> None:
        is_commands = role is self._commands
        if is_commands:
            await self._end_last(connection)
        self._open[role] = connection
        for other, its in list(self._open.items()):
            if its.fence != connection.fence and other is not role:
                await its.close()  # it talks to a server that is no longer the right one
        running = asyncio.ensure_future(role.run(connection))
        await asyncio.sleep(0)
        if is_commands:
            self._on_commands(connection)
        else:
            self._token_sent = None
        try:
            await running
        finally:
            if not is_commands:
                self._receiving = False
            running.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await running

    async def _end_last(self, connection: FencedConnection) -> None:
        """End the connection before this one at the server.

        Otherwise a message that is stuck on the way could arrive after messages that are sent now.
        """
        if self._last_id and connection.fence == self._fence:
            async with asyncio.timeout(self._options.timeout):
                with suppress(ResponseError):
                    await connection.call("CLIENT", "KILL", "ID", self._last_id)
        self._last_id = connection.id

    def _on_commands(self, connection: FencedConnection) -> None:
        if connection.fence != self._fence:
            self._fence = connection.fence
            # Restored leases have ended, although their processes may be about to come back.
            self._sweep_from = asyncio.get_running_loop().time() + self._options.lease
            self._presence.reconcile(everything=True)
        else:
            self._presence.reconcile(everything=False)
        self._probe()
        for topic, attachment in self._topics.items():
            if attachment.subscribed and attachment.keep.count:
                self._ask_top(topic, attachment)

    def _connected(self) -> None:
        if not (self._receiving and self._accepted and self._commands.connected):
            return
        if not self._ready.done():
            self._ready.set_result(None)
        if isinstance(self._status, Away) and self._hub is not None:
            self._status = Connected()
            self._hub.on_status(self._status)
            self._hub.on_members_unknown(None)

    def _away(self, cause: BackplaneError) -> None:
        if not self._ready.done():
            self._ready.set_exception(cause)
        if not self._receiver.connected:
            for attachment in self._topics.values():
                attachment.subscribed = False
                if not attachment.keep.count:
                    _settle(attachment, None)
        if isinstance(self._status, Connected) and self._hub is not None:
            self._status = Away(time.time(), cause)
            self._hub.on_status(self._status)

    # The probe.

    async def _probe_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(self._options.probe_interval)
            now = loop.time()
            if now - before > 2 * self._options.probe_interval:
                continue  # this process stood still: first look at what has arrived meanwhile
            if self._is_deaf(now):
                for connection in list(self._open.values()):
                    await connection.close()
            elif self._commands.connected:
                self._probe()
                self._compare_some()

    def _is_deaf(self, now: float) -> bool:
        timeout = self._options.timeout
        if self._commands.connected and self._commands.silent_for(now) > timeout:
            return True
        sent = self._token_sent
        return (
            self._receiver.connected
            and sent is not None
            and now - max(sent, self._receiver.heard) > timeout
        )

    def _probe(self) -> None:
        options = self._options
        self._token += 1

        def finish(reply: Any) -> None:
            if isinstance(reply, Exception):
                return
            alive, dead = reply
            if not alive and self._leased:
                self._presence.reconcile(everything=True)
                # While topics are not subscribed to, this must wait for `_connected`: what happens
                # until then would be missed.
                if self._hub is not None and isinstance(self._status, Connected):
                    self._hub.on_members_unknown(None)
            self._leased = True
            self._accepted = True
            self._connected()
            if asyncio.get_running_loop().time() >= self._sweep_from:
                for process in dead:
                    self._presence.sweep(process.decode())

        if self._token_sent is None and self._receiver.connected:
            self._token_sent = asyncio.get_running_loop().time()
        arguments = (
            self._process,
            int(options.lease * 1000),
            self._keys.own_channel(self._process),
            self._token,
        )
        keys = (self._keys.leases,)
        call = Call(finish, arguments, script=scripts.PROBE, keys=keys, vital=True)
        self._commands.push(call)

    def _compare_some(self) -> None:
        """Compare the positions of some topics, and renew the expiry of their heads."""
        for topic in list(islice(self._compared, _TOPICS_PER_PROBE)):
            del self._compared[topic]
            self._compared[topic] = None
            attachment = self._topics[topic]
            if attachment.subscribed:
                self._ask_top(topic, attachment)

    def _ask_top(self, topic: str, attachment: _Attachment) -> None:
        def finish(reply: Any) -> None:
            if self._topics.get(topic) is not attachment:
                return
            if isinstance(reply, Exception):
                if not isinstance(reply, BackplaneError):
                    _settle(attachment, BackplaneError(f"Redis refuses {topic!r:.80}: {reply}"))
                return  # otherwise the next connection asks again
            top = Position(reply[0].decode(), reply[1])
            if attachment.waiting:
                _settle(attachment, top)
            elif self._hub is not None:
                self._hub.on_top(topic, top)

        arguments = (self._process, head_milliseconds(attachment.keep))
        keys = (self._keys.head(topic), self._keys.stream(topic))
        self._commands.push(Call(finish, arguments, script=scripts.TOP, keys=keys, fenced=True))

    def _deliver(self, topic: str, publication: Publication) -> None:
        if topic in self._topics and self._hub is not None:
            self._hub.on_publication(topic, publication)


def _settle(attachment: _Attachment, result: Any) -> None:
    waiting, attachment.waiting = attachment.waiting, []
    for done in waiting:
        done(result)
