"""Topics across connections, processes and machines."""

from ._backplane import (
    Backplane,
    BackplaneReceiver,
    History,
    Member,
    Publication,
    PublishRequest,
)
from ._errors import BackplaneError, Unconfirmed
from ._keep import Keep
from ._messages import Gap, Message, Position
from ._status import Away, Connected, HubStatus

__all__ = [
    "Away",
    "Backplane",
    "BackplaneError",
    "BackplaneReceiver",
    "Connected",
    "Gap",
    "History",
    "HubStatus",
    "Keep",
    "Member",
    "Message",
    "Position",
    "Publication",
    "PublishRequest",
    "Unconfirmed",
]
