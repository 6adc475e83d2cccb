"""Topics across connections, processes and machines."""

from typing import TYPE_CHECKING, Any

from ._backplane import (
    Backplane,
    BackplaneReceiver,
    History,
    Member,
    Publication,
    PublishRequest,
)
from ._client import ClientStats, ClientTopic, HubClient, NotPublished, Refused, connect
from ._errors import BackplaneError, Unconfirmed
from ._hub import Hub
from ._keep import Keep
from ._local import LocalBackplane
from ._messages import Gap, Message, Position
from ._server import Credentials, ServeOptions, TokenExpired
from ._stats import HubStats
from ._status import Away, Connected, HubStatus
from ._topic import Topic
from ._users import User

if TYPE_CHECKING:
    from ._redis import RedisBackplane as RedisBackplane

__all__ = [
    "Away",
    "Backplane",
    "BackplaneError",
    "BackplaneReceiver",
    "ClientStats",
    "ClientTopic",
    "Connected",
    "Credentials",
    "Gap",
    "History",
    "Hub",
    "HubClient",
    "HubStats",
    "HubStatus",
    "Keep",
    "LocalBackplane",
    "Member",
    "Message",
    "NotPublished",
    "Position",
    "Publication",
    "PublishRequest",
    "Refused",
    "ServeOptions",
    "TokenExpired",
    "Topic",
    "Unconfirmed",
    "User",
    "connect",
]


def __getattr__(name: str) -> Any:
    """Import what needs redis-py when it is first used."""
    if name == "RedisBackplane":
        from ._redis import RedisBackplane

        return RedisBackplane
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "RedisBackplane"]
