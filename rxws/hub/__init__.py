"""Topics across connections, processes and machines."""

from typing import TYPE_CHECKING, Any

from ._backplane import (
    Backplane,
    BackplaneReceiver,
    Done,
    History,
    Member,
    Publication,
    PublishRequest,
)
from ._client import (
    ClientAction,
    ClientStats,
    ClientTopic,
    HubClient,
    NotPublished,
    Refused,
    Token,
    connect,
)
from ._errors import BackplaneError, Unconfirmed
from ._hub import Hub
from ._keep import Keep
from ._local import LocalBackplane
from ._messages import Gap, GapReason, Message, Position
from ._publisher import PublishOverflow
from ._server import Action, Allow, Credentials, Identify, ServeOptions, TokenExpired
from ._stats import HubStats
from ._status import Away, Connected, HubStatus
from ._topic import Topic
from ._user import User

if TYPE_CHECKING:
    from ._redis import RedisBackplane

__all__ = [
    "Action",
    "Allow",
    "Away",
    "Backplane",
    "BackplaneError",
    "BackplaneReceiver",
    "ClientAction",
    "ClientStats",
    "ClientTopic",
    "Connected",
    "Credentials",
    "Done",
    "Gap",
    "GapReason",
    "History",
    "Hub",
    "HubClient",
    "HubStats",
    "HubStatus",
    "Identify",
    "Keep",
    "LocalBackplane",
    "Member",
    "Message",
    "NotPublished",
    "Position",
    "Publication",
    "PublishOverflow",
    "PublishRequest",
    "RedisBackplane",
    "Refused",
    "ServeOptions",
    "Token",
    "TokenExpired",
    "Topic",
    "Unconfirmed",
    "User",
    "connect",
]


def __dir__() -> list[str]:
    """List the public names."""
    return list(__all__)


if not TYPE_CHECKING:  # pragma: no branch # type checkers report a misspelt name

    def __getattr__(name: str) -> Any:
        """Import what needs redis-py when it is first used."""
        if name == "RedisBackplane":
            from ._redis import RedisBackplane

            return RedisBackplane
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
