"""The messages as types, and the checks of their fields."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar, cast

from rxws._core.errors import short_repr

from .codes import ErrorReply

__all__ = [
    "PUSHES",
    "REQUESTS",
    "RESULTS",
    "UNSUPPORTED",
    "ClientInfo",
    "ConnectRequest",
    "ConnectResult",
    "DisconnectPush",
    "HistoryRequest",
    "HistoryResult",
    "InvalidField",
    "JoinPush",
    "LeavePush",
    "MessagePush",
    "PingRequest",
    "PingResult",
    "PresenceRequest",
    "PresenceResult",
    "PresenceStatsRequest",
    "PresenceStatsResult",
    "Pub",
    "PublishRequest",
    "PublishResult",
    "PushBody",
    "RefreshPush",
    "RefreshRequest",
    "RefreshResult",
    "Request",
    "Result",
    "StreamPosition",
    "SubRefreshRequest",
    "SubRefreshResult",
    "SubscribeRequest",
    "SubscribeResult",
    "UnsubscribePush",
    "UnsubscribeRequest",
    "UnsubscribeResult",
    "read_error",
    "read_fields",
]

T = TypeVar("T")

_UINT64 = 1 << 64
_INT32 = 1 << 31


class InvalidField(Exception):
    """A field is missing, or has a wrong type or value."""


class StreamPosition(NamedTuple):
    """A place in the order of a topic's messages; an empty epoch is unknown."""

    offset: int = 0
    epoch: str = ""


class ClientInfo(NamedTuple):
    """A connection, as others see it."""

    client: str = ""
    user: str = ""
    conn_info: Any = None


class Pub(NamedTuple):
    """A message of a topic; offset 0 if the topic keeps nothing."""

    data: Any = None
    offset: int = 0
    info: ClientInfo | None = None


# --- commands ---------------------------------------------------------------------------------


class ConnectRequest(NamedTuple):
    token: str = ""
    data: Any = None
    name: str = ""
    version: str = ""


class SubscribeRequest(NamedTuple):
    channel: str
    token: str = ""
    recover: bool = False
    epoch: str = ""
    offset: int = 0
    data: Any = None
    positioned: bool = False
    recoverable: bool = False
    join_leave: bool = False
    flag: int = 0
    delta: str = ""
    type: int = 0
    tf: Any = None


class UnsubscribeRequest(NamedTuple):
    channel: str


class PublishRequest(NamedTuple):
    channel: str
    data: Any
    type: int = 0


class PresenceRequest(NamedTuple):
    channel: str


class PresenceStatsRequest(NamedTuple):
    channel: str


class HistoryRequest(NamedTuple):
    """`limit` 0 reads the position only, and -1 all messages."""

    channel: str
    limit: int = 0
    since: StreamPosition | None = None
    reverse: bool = False


class RefreshRequest(NamedTuple):
    token: str = ""


class SubRefreshRequest(NamedTuple):
    channel: str
    token: str = ""
    type: int = 0


class PingRequest(NamedTuple):
    pass


Request: TypeAlias = (
    ConnectRequest
    | SubscribeRequest
    | UnsubscribeRequest
    | PublishRequest
    | PresenceRequest
    | PresenceStatsRequest
    | HistoryRequest
    | RefreshRequest
    | SubRefreshRequest
    | PingRequest
)


# --- replies ----------------------------------------------------------------------------------


class ConnectResult(NamedTuple):
    """`ping` is the interval of the server's pings in seconds, `ttl` the rest of the token's."""

    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0
    ping: int = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    data: Any = None


class SubscribeResult(NamedTuple):
    """`offset` is that of the request if `recovered`, else that of the newest message."""

    expires: bool = False
    ttl: int = 0
    recoverable: bool = False
    epoch: str = ""
    publications: tuple[Pub, ...] = ()
    recovered: bool = False
    offset: int = 0
    positioned: bool = False
    was_recovering: bool = False
    data: Any = None


class UnsubscribeResult(NamedTuple):
    pass


class PublishResult(NamedTuple):
    pass


class PresenceResult(NamedTuple):
    presence: Mapping[str, ClientInfo] = {}


class PresenceStatsResult(NamedTuple):
    num_clients: int = 0
    num_users: int = 0


class HistoryResult(NamedTuple):
    publications: tuple[Pub, ...] = ()
    epoch: str = ""
    offset: int = 0


class RefreshResult(NamedTuple):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: int = 0


class SubRefreshResult(NamedTuple):
    expires: bool = False
    ttl: int = 0


class PingResult(NamedTuple):
    pass


Result: TypeAlias = (
    ConnectResult
    | SubscribeResult
    | UnsubscribeResult
    | PublishResult
    | PresenceResult
    | PresenceStatsResult
    | HistoryResult
    | RefreshResult
    | SubRefreshResult
    | PingResult
)


# --- pushes -----------------------------------------------------------------------------------


class JoinPush(NamedTuple):
    info: ClientInfo


class LeavePush(NamedTuple):
    info: ClientInfo


class MessagePush(NamedTuple):
    """A message to the user of the connection, of no topic."""

    data: Any = None


class UnsubscribePush(NamedTuple):
    code: int = 0
    reason: str = ""


class DisconnectPush(NamedTuple):
    code: int = 0
    reason: str = ""
    reconnect: bool = False


class RefreshPush(NamedTuple):
    expires: bool = False
    ttl: int = 0


PushBody: TypeAlias = (
    Pub | JoinPush | LeavePush | MessagePush | UnsubscribePush | DisconnectPush | RefreshPush
)


# --- which message has which name -------------------------------------------------------------

REQUESTS: Final[Mapping[str, type[Request]]] = {
    "connect": ConnectRequest,
    "subscribe": SubscribeRequest,
    "unsubscribe": UnsubscribeRequest,
    "publish": PublishRequest,
    "presence": PresenceRequest,
    "presence_stats": PresenceStatsRequest,
    "history": HistoryRequest,
    "refresh": RefreshRequest,
    "sub_refresh": SubRefreshRequest,
    "ping": PingRequest,
}

UNSUPPORTED: Final = frozenset({"rpc", "send"})
"""Commands of the protocol that are not in the subset."""

RESULTS: Final[Mapping[str, type[Result]]] = {
    "connect": ConnectResult,
    "subscribe": SubscribeResult,
    "unsubscribe": UnsubscribeResult,
    "publish": PublishResult,
    "presence": PresenceResult,
    "presence_stats": PresenceStatsResult,
    "history": HistoryResult,
    "refresh": RefreshResult,
    "sub_refresh": SubRefreshResult,
    "ping": PingResult,
}

PUSHES: Final[Mapping[str, type[PushBody]]] = {
    "pub": Pub,
    "join": JoinPush,
    "leave": LeavePush,
    "message": MessagePush,
    "unsubscribe": UnsubscribePush,
    "disconnect": DisconnectPush,
    "refresh": RefreshPush,
}


# --- checks -----------------------------------------------------------------------------------


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise InvalidField("use a string")


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidField("use true or false")


def _natural(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _UINT64:
        return value
    raise InvalidField("use a whole number of 0 or more")


def _integer(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and -_INT32 <= value < _INT32:
        return value
    raise InvalidField("use a whole number of 32 bits")


def _any(value: Any) -> Any:
    return value


def _position(value: Any) -> StreamPosition:
    return read_fields(StreamPosition, value)


def _info(value: Any) -> ClientInfo:
    return read_fields(ClientInfo, value)


def _pubs(value: Any) -> tuple[Pub, ...]:
    if not isinstance(value, list):
        raise InvalidField("use an array")
    items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    return tuple(read_fields(Pub, each) for each in items)


def _presence(value: Any) -> dict[str, ClientInfo]:
    if not isinstance(value, dict):
        raise InvalidField("use an object")
    return {name: _info(each) for name, each in cast(dict[str, Any], value).items()}


_READERS: dict[str, Callable[[Any], Any]] = {
    "channel": _text,
    "client": _text,
    "code": _natural,
    "conn_info": _any,
    "data": _any,
    "delta": _text,
    "epoch": _text,
    "expires": _truth,
    "flag": _natural,
    "info": _info,
    "join_leave": _truth,
    "limit": _integer,
    "message": _text,
    "name": _text,
    "node": _text,
    "num_clients": _natural,
    "num_users": _natural,
    "offset": _natural,
    "ping": _natural,
    "pong": _truth,
    "positioned": _truth,
    "presence": _presence,
    "publications": _pubs,
    "reason": _text,
    "reconnect": _truth,
    "recover": _truth,
    "recoverable": _truth,
    "recovered": _truth,
    "reverse": _truth,
    "session": _text,
    "since": _position,
    "temporary": _truth,
    "tf": _any,
    "token": _text,
    "ttl": _natural,
    "type": _integer,
    "user": _text,
    "version": _text,
    "was_recovering": _truth,
}


def read_fields(kind: type[T], value: Any) -> T:
    """Return a message of a kind; fields that it does not have are ignored, as they are newer.

    A field that is null is absent, except `data`, which may be any JSON.

    Raises:
        InvalidField: A field is missing, or has a wrong type.
    """
    if not isinstance(value, dict):
        raise InvalidField(f"use an object, not {short_repr(value):.40}")
    fields = cast(dict[str, Any], value)
    named: Any = kind  # a NamedTuple
    found: dict[str, Any] = {}
    for name in named._fields:
        given = fields.get(name)
        if given is None and (name != "data" or name not in fields):
            if name not in named._field_defaults:
                raise InvalidField(f"{name} is missing")
            continue
        try:
            found[name] = _READERS[name](given)
        except InvalidField as exc:
            raise InvalidField(f"{name}: {exc}") from None
    return kind(**found)


def read_error(value: Any) -> ErrorReply:
    """Return the error of a reply.

    Raises:
        InvalidField: A field is missing, or has a wrong type.
    """
    return read_fields(ErrorReply, value)
