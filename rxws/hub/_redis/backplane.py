"""The backplane on one or several Redis servers."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence

from rxws import backoff as backoffs
from rxws._core.checks import check_seconds
from rxws.backoff import Backoff
from rxws.hub._backplane import (
    BackplaneReceiver,
    Done,
    History,
    Member,
    PublishRequest,
)
from rxws.hub._keep import Keep
from rxws.hub._messages import Position
from rxws.hub._status import Away, Connected, HubStatus

from . import address
from .shard import Shard, ShardOptions

__all__ = ["RedisBackplane"]


class RedisBackplane:
    """Connect the hubs of several processes by Redis or Valkey.

    Positions survive neither a restart nor a failover of Redis: subscribers get a `Gap`, even if
    nothing was lost, as what was lost is not known. The messages that Redis still has stay
    readable.

    While Redis is away, messages of topics that keep messages wait, bounded by `Hub(max_buffer=)`.
    Messages of other topics reach the subscribers in the same process only.

    Args:
        url: `redis://:password@host:6379/0`, `rediss://` for TLS, `unix:///path`, or
            `redis+sentinel://host:26379,host:26379/name`. With a list of URLs of independent
            servers each topic lives on one of them, chosen by its name: give every process the same
            list, in any order. If a server is away, only its topics wait.
        prefix: What all keys and channels in Redis begin with.
        probe_interval: How often each connection is tried, in seconds.
        timeout: A connection without an answer for this long is replaced, in seconds. It also
            bounds each attempt to connect.
        lease: The members of a process that has died disappear after this time, in seconds.
        remember_ids: For how long the id of a published message is remembered, in seconds, but not
            longer than the topic keeps messages.
        backoff: The waits between attempts to reconnect; by default random ones of up to
            `probe_interval`.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or a URL is invalid.

    Examples:
        ```python
        hub = rxws.Hub(backplane=rxws.hub.RedisBackplane("redis://localhost"))
        hub.setup(app)
        ```
    """

    def __init__(
        self,
        url: str | list[str],
        *,
        prefix: str = "rxws",
        probe_interval: float = 1.0,
        timeout: float = 2.0,
        lease: float = 10.0,
        remember_ids: float = 300.0,
        backoff: Backoff | None = None,
    ) -> None:
        if not isinstance(prefix, str) or not prefix:
            raise TypeError(f"prefix={prefix!r:.80}: use a text such as 'rxws'")
        check_seconds("probe_interval", probe_interval)
        check_seconds("timeout", timeout)
        check_seconds("lease", lease)
        check_seconds("remember_ids", remember_ids)
        if lease < 2 * probe_interval:
            raise ValueError(
                f"lease={lease!r}: it is renewed every probe_interval={probe_interval!r} s, so use "
                "at least twice that"
            )
        urls = list(url) if isinstance(url, list) else [url]
        if not urls:
            raise ValueError("url=[]: use one URL or more")
        addresses = [address.parse(each) for each in urls]
        if len({each.shown for each in addresses}) < len(addresses):
            raise ValueError("a server is in the list of URLs twice: use each once")
        if backoff is None:
            backoff = backoffs.exponential(min(0.05, probe_interval), cap=probe_interval)
        self._urls = [each.shown for each in addresses]
        self._addresses = addresses
        self._options = ShardOptions(
            prefix=prefix,
            process=secrets.token_hex(8),
            probe_interval=probe_interval,
            timeout=timeout,
            lease=lease,
            remember_ids=remember_ids,
            backoff=backoff,
        )
        self._shards: dict[str, Shard] = {}
        self._away: dict[str, Away] = {}

    def __repr__(self) -> str:
        return f"RedisBackplane({', '.join(self._urls)})"

    async def start(self, receiver: BackplaneReceiver) -> None:
        """Connect to all servers.

        Raises:
            BackplaneError: A server cannot be reached, has the wrong version, or refuses the
                password.
            RuntimeError: It serves another hub.
        """
        if self._shards:
            raise RuntimeError("this backplane serves a hub already: use one for each hub")
        shards = {each.shown: Shard(each, self._options) for each in self._addresses}
        self._away.clear()
        try:
            for shown, shard in shards.items():
                await shard.start(_ShardReceiver(self._away, shown, receiver))
        except BaseException:
            for shard in shards.values():
                await shard.stop()
            raise
        self._shards = shards

    async def stop(self) -> None:
        """Remove the members of this process and disconnect."""
        shards, self._shards = self._shards, {}
        for shard in shards.values():
            await shard.stop()

    def available(self, topic: str) -> bool:
        """See `Backplane`."""
        return bool(self._shards) and self._shard(topic).available

    def publish(self, request: PublishRequest, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        self._shard(request.topic).publish(request, done)

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
        self._shard(topic).read(topic, since, limit, done, oldest=oldest)

    def attach(self, topic: str, keep: Keep, done: Done[Position | None]) -> None:
        """See `Backplane`."""
        self._shard(topic).attach(topic, keep, done)

    def detach(self, topic: str) -> None:
        """See `Backplane`."""
        self._shard(topic).detach(topic)

    def join(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        self._shard(topic).join(topic, member)

    def leave(self, topic: str, member: Member) -> None:
        """See `Backplane`."""
        self._shard(topic).leave(topic, member)

    def members(self, topic: str, done: Done[Mapping[str, Member]]) -> None:
        """See `Backplane`."""
        self._shard(topic).members(topic, done)

    def _shard(self, topic: str) -> Shard:
        if not self._shards:
            raise RuntimeError(
                "the backplane is not started: use it after start() and before stop()"
            )
        if len(self._urls) == 1:
            return self._shards[self._urls[0]]
        return self._shards[choose(topic, self._urls)]


def choose(topic: str, urls: Sequence[str]) -> str:
    """Choose a server for a topic (rendezvous hashing).

    One server more or less moves only the topics that it gets or had.
    """
    return max(urls, key=lambda url: hashlib.blake2b(f"{url}\n{topic}".encode()).digest())


class _ShardReceiver:
    """Passes on what a shard reports: the backplane is away while one of its servers is."""

    def __init__(self, away: dict[str, Away], shown: str, receiver: BackplaneReceiver) -> None:
        self._away = away
        self._shown = shown
        self._receiver = receiver
        self.on_publication = receiver.on_publication
        self.on_top = receiver.on_top
        self.on_joined = receiver.on_joined
        self.on_left = receiver.on_left
        self.on_members_unknown = receiver.on_members_unknown

    def on_status(self, status: HubStatus) -> None:
        if isinstance(status, Away):
            self._away[self._shown] = status
            self._receiver.on_status(status)
        else:
            self._away.pop(self._shown, None)
            rest = next(iter(self._away.values()), None)
            self._receiver.on_status(rest or Connected())
