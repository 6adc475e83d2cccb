"""The names of keys and channels in Redis."""

from __future__ import annotations

__all__ = ["Keys"]


class Keys:
    """Names keys and channels; those of one topic lie in one slot of a cluster.

    Args:
        prefix: What all names begin with.
        database: The number of the database. Channels belong to no database, so it is part of
            their names.
    """

    def __init__(self, prefix: str, database: int) -> None:
        self._prefix = prefix
        self._channels = f"{prefix}:{database}:"
        self.leases = f"{prefix}:processes"

    def head(self, topic: str) -> str:
        """Name the hash with a topic's epoch and newest offset."""
        return f"{self._prefix}:head:{{{topic}}}"

    def stream(self, topic: str) -> str:
        """Name the stream of a topic's kept messages."""
        return f"{self._prefix}:kept:{{{topic}}}"

    def members(self, topic: str) -> str:
        """Name the hash of a topic's members."""
        return f"{self._prefix}:members:{{{topic}}}"

    def topics(self, process: str) -> str:
        """Name the set of the topics in which a process has members."""
        return f"{self._prefix}:topics:{process}"

    def channel(self, topic: str) -> str:
        """Name the channel of a topic."""
        return f"{self._channels}topic:{topic}"

    def own_channel(self, process: str) -> str:
        """Name the channel by which a process hears itself."""
        return f"{self._channels}process:{process}"

    def topic(self, channel: str) -> str | None:
        """Return the topic of a channel, None if it is a process's."""
        prefix = f"{self._channels}topic:"
        return channel[len(prefix) :] if channel.startswith(prefix) else None
