"""The messages as types, and the checks of their fields."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import (
    Annotated,
    Any,
    Final,
    NamedTuple,
    TypeAlias,
    TypeVar,
    cast,
    get_args,
    get_type_hints,
)

from rxws._core.errors import short_repr

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
    "read_fields",
]

T = TypeVar("T")

UInt32: TypeAlias = Annotated[int, range(1 << 32)]
Int32: TypeAlias = Annotated[int, range(-(1 << 31), 1 << 31)]


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
    type: Int32 = 0
    tf: Any = None


class UnsubscribeRequest(NamedTuple):
    channel: str


class PublishRequest(NamedTuple):
    channel: str
    data: Any
    type: Int32 = 0


class PresenceRequest(NamedTuple):
    channel: str


class PresenceStatsRequest(NamedTuple):
    channel: str


class HistoryRequest(NamedTuple):
    """`limit` 0 reads the position only, and -1 all messages."""

    channel: str
    limit: Int32 = 0
    since: StreamPosition | None = None
    reverse: bool = False


class RefreshRequest(NamedTuple):
    token: str = ""


class SubRefreshRequest(NamedTuple):
    channel: str
    token: str = ""
    type: Int32 = 0


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
    ttl: UInt32 = 0
    ping: UInt32 = 0
    pong: bool = False
    session: str = ""
    node: str = ""
    data: Any = None


class SubscribeResult(NamedTuple):
    """`offset` is that of the request if `recovered`, else that of the newest message."""

    expires: bool = False
    ttl: UInt32 = 0
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
    num_clients: UInt32 = 0
    num_users: UInt32 = 0


class HistoryResult(NamedTuple):
    publications: tuple[Pub, ...] = ()
    epoch: str = ""
    offset: int = 0


class RefreshResult(NamedTuple):
    client: str = ""
    version: str = ""
    expires: bool = False
    ttl: UInt32 = 0


class SubRefreshResult(NamedTuple):
    expires: bool = False
    ttl: UInt32 = 0


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
    code: UInt32 = 0
    reason: str = ""


class DisconnectPush(NamedTuple):
    code: UInt32 = 0
    reason: str = ""
    reconnect: bool = False


class RefreshPush(NamedTuple):
    expires: bool = False
    ttl: UInt32 = 0


PushBody: TypeAlias = (
    Pub | JoinPush | LeavePush | MessagePush | UnsubscribePush | DisconnectPush | RefreshPush
)


# --- which message has which name -------------------------------------------------------------


def _by_name(kinds: Iterable[type[T]], suffix: str) -> Mapping[str, type[T]]:
    """Return messages by their names: `PresenceStatsRequest` is `presence_stats`."""
    names = ((kind.__name__.removesuffix(suffix), kind) for kind in kinds)
    return {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower(): kind for name, kind in names}


REQUESTS: Final[Mapping[str, type[Request]]] = _by_name(get_args(Request), "Request")

UNSUPPORTED: Final = frozenset({"rpc", "send"})
"""Commands of the protocol that are not in the subset."""

RESULTS: Final[Mapping[str, type[Result]]] = _by_name(get_args(Result), "Result")
PUSHES: Final[Mapping[str, type[PushBody]]] = _by_name(get_args(PushBody), "Push")


# --- checks -----------------------------------------------------------------------------------

_Reader: TypeAlias = Callable[[Any], Any]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise InvalidField("use a string")


def _truth(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise InvalidField("use true or false")


def _number(allowed: range, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value in allowed:
        return value
    raise InvalidField(f"use a whole number from {allowed.start} to {allowed.stop - 1}")


def _array(item: _Reader, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InvalidField("use an array")
    items: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
    return tuple(map(item, items))


def _object(item: _Reader, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {name: item(each) for name, each in cast(dict[str, Any], value).items()}
    raise InvalidField("use an object")


def _any(value: Any) -> Any:
    return value


_PLAIN: dict[Any, _Reader] = {
    str: _text,
    bool: _truth,
    Any: _any,
    int: partial(_number, range(1 << 64)),
}


def _reader_of(hint: Any) -> _Reader:
    """Return the function that checks a field of a type."""
    if hint in _PLAIN:
        return _PLAIN[hint]
    if hasattr(hint, "_fields"):
        return partial(read_fields, hint)
    if hasattr(hint, "__metadata__"):
        return partial(_number, hint.__metadata__[0])
    first, last = get_args(hint)  # tuple[X, ...], Mapping[str, X] or X | None
    if last is ...:
        return partial(_array, _reader_of(first))
    return _reader_of(first) if last is type(None) else partial(_object, _reader_of(last))


@cache
def _readers(kind: type[Any]) -> Mapping[str, _Reader]:
    hints = get_type_hints(kind, include_extras=True)
    return {name: _reader_of(hint) for name, hint in hints.items()}


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
    for name, read in _readers(named).items():
        given = fields.get(name)
        if given is None and (name != "data" or name not in fields):
            if name not in named._field_defaults:
                raise InvalidField(f"{name} is missing")
            continue
        try:
            found[name] = read(given)
        except InvalidField as exc:
            raise InvalidField(f"{name}: {exc}") from None
    return kind(**found)
