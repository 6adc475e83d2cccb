"""The client of hubs, and of other servers that speak Centrifugo's protocol."""

from .client import HubClient, connect
from .errors import ClientAction, NotPublished, Refused
from .registry import ClientStats
from .token import Token
from .topic import ClientTopic

__all__ = [
    "ClientAction",
    "ClientStats",
    "ClientTopic",
    "HubClient",
    "NotPublished",
    "Refused",
    "Token",
    "connect",
]
