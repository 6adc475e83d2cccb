"""Parses and builds frames: one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeAlias, cast

from rxws import codecs
from rxws._core.connection import Close

from .codes import Disconnect, ErrorCode, ErrorReply
from .schema import (
    PUSHES,
    REQUESTS,
    RESULTS,
    UNSUPPORTED,
    ClientInfo,
    HistoryResult,
    InvalidField,
    Pub,
    PushBody,
    Request,
    Result,
    StreamPosition,
    SubscribeResult,
    read_fields,
)

__all__ = [
    "PING",
    "Command",
    "Ping",
    "Pong",
    "ProtocolViolation",
    "Push",
    "Refused",
    "Reply",
    "command",
    "embed",
    "error_reply",
    "message_push",
    "parse_commands",
    "parse_replies",
    "publication",
    "publication_push",
    "publish_command",
    "push",
    "reply",
    "reply_with_publications",
]

PING = "{}"
"""A ping of the server, and the pong of the client."""

_UINT32 = 1 << 32
_NAMES: dict[type[Any], str] = {
    **{kind: name for name, kind in REQUESTS.items()},
    **{kind: name for name, kind in RESULTS.items()},
    **{kind: name for name, kind in PUSHES.items()},
}


_NESTED = (ClientInfo, Pub, StreamPosition)


class ProtocolViolation(Exception):
    """A frame is none of the protocol: the connection must be closed.

    Args:
        close: The close to send.
    """

    def __init__(self, close: Close) -> None:
        super().__init__(close.reason)
        self.close = close


class Command(NamedTuple):
    """A command of a client, with an id of 1 or more."""

    id: int
    request: Request


class Refused(NamedTuple):
    """A command that is answered with an error."""

    id: int
    error: ErrorReply


class Pong(NamedTuple):
    """The client's answer to a ping."""


class Reply(NamedTuple):
    """A server's answer to a command; either `error` or `result` is set."""

    id: int
    result: Result | None = None
    error: ErrorReply | None = None


class Push(NamedTuple):
    """A message of a server that answers no command; `body` is None if this kind is not known."""

    channel: str
    body: PushBody | None


class Ping(NamedTuple):
    """A server's ping, which the client answers with `PING` if the connect reply said so."""


FromClient: TypeAlias = Command | Refused | Pong
FromServer: TypeAlias = Reply | Push | Ping


# --- parsing ----------------------------------------------------------------------------------


def _violation(detail: str) -> ProtocolViolation:
    return ProtocolViolation(Disconnect.BAD_REQUEST.close(detail))


def _objects(frame: str | bytes, max_lines: int | None) -> Iterator[dict[str, Any]]:
    if not isinstance(frame, str):
        raise _violation("binary frame; use JSON, not Protobuf")
    lines = frame.removesuffix("\n").split("\n")
    if max_lines is not None and len(lines) > max_lines:
        raise ProtocolViolation(
            Disconnect.TOO_MANY_REQUESTS.close(f"more than {max_lines} commands in a frame")
        )
    for line in lines:
        try:
            value = codecs.json.decode(line)
        except Exception:  # also a RecursionError
            raise _violation("not JSON") from None
        if not isinstance(value, dict):
            raise _violation("not a JSON object")
        yield cast(dict[str, Any], value)


def parse_commands(frame: str | bytes, max_commands: int | None = None) -> Iterator[FromClient]:
    """Yield the commands of a frame; those before a line that is wrong are yielded.

    Raises:
        ProtocolViolation: The frame is none of the protocol, or has more than `max_commands`.
    """
    for fields in _objects(frame, max_commands):
        yield _command(fields)


def _command(fields: dict[str, Any]) -> FromClient:
    if not fields:
        return Pong()
    id_ = fields.get("id", 0)
    if not isinstance(id_, int) or isinstance(id_, bool) or not 0 <= id_ < _UINT32:
        raise _violation("id is no whole number of 32 bits")
    names = [name for name, value in fields.items() if name != "id" and value is not None]
    if id_ == 0:
        if names == ["send"]:
            raise ProtocolViolation(Disconnect.NOT_AVAILABLE.close("send is not supported"))
        raise _violation("a command needs an id of 1 or more")
    known = [name for name in names if name in REQUESTS or name in UNSUPPORTED]
    if not known:
        detail = f"{names[0]!r:.40}" if names else "there is no command"
        return _refused(id_, ErrorCode.METHOD_NOT_FOUND, detail)
    if len(known) > 1:
        return _refused(id_, ErrorCode.BAD_REQUEST, f"two commands, {known[0]} and {known[1]}")
    name = known[0]
    if name in UNSUPPORTED:
        return _refused(id_, ErrorCode.NOT_AVAILABLE, f"{name} is not supported")
    try:
        return Command(id_, read_fields(REQUESTS[name], fields[name]))
    except InvalidField as exc:
        return _refused(id_, ErrorCode.BAD_REQUEST, f"{name}: {exc}")


def _refused(id_: int, code: ErrorCode, detail: str) -> Refused:
    return Refused(id_, ErrorReply.of(code, detail))


def parse_replies(frame: str | bytes) -> Iterator[FromServer]:
    """Yield the replies and pushes of a frame.

    Raises:
        ProtocolViolation: The frame is none of the protocol.
    """
    for fields in _objects(frame, None):
        try:
            yield _from_server(fields)
        except InvalidField as exc:
            raise _violation(str(exc)) from None


def _from_server(fields: dict[str, Any]) -> FromServer:
    id_ = fields.get("id", 0)
    if not isinstance(id_, int) or isinstance(id_, bool) or id_ < 0:
        raise InvalidField("id: use a whole number of 0 or more")
    if id_ == 0:
        pushed = fields.get("push")
        return Ping() if pushed is None else _push(pushed)
    if (error := fields.get("error")) is not None:
        return Reply(id_, error=read_fields(ErrorReply, error))
    for name, kind in RESULTS.items():
        if (body := fields.get(name)) is not None:
            return Reply(id_, read_fields(kind, body))
    raise InvalidField("the reply has neither a result nor an error")


def _push(pushed: Any) -> Push:
    if not isinstance(pushed, dict):
        raise InvalidField("push: use an object")
    fields = cast(dict[str, Any], pushed)
    channel = fields.get("channel", "")
    if not isinstance(channel, str):
        raise InvalidField("channel: use a string")
    for name, kind in PUSHES.items():
        if (body := fields.get(name)) is not None:
            return Push(channel, read_fields(kind, body))
    return Push(channel, None)


# --- building ---------------------------------------------------------------------------------


def _fields(message: Any) -> dict[str, Any]:
    """Return the fields that are not their defaults, as the protocol has it."""
    defaults = message._field_defaults
    found: dict[str, Any] = {}
    for name, value in message._asdict().items():
        if name in defaults and value == defaults[name] and type(value) is type(defaults[name]):
            continue
        found[name] = _plain(value)
    return found


def _plain(value: Any) -> Any:
    if value.__class__ in _NESTED:
        return _fields(value)
    if isinstance(value, tuple):
        items: tuple[Any, ...] = value  # pyright: ignore[reportUnknownVariableType]
        return [_plain(each) for each in items]
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in cast(dict[str, Any], value).items()}
    return value


def _text(value: Any) -> str:
    return cast(str, codecs.json.encode(value))


def command(id_: int, request: Request) -> str:
    """Return the line of a command.

    Raises:
        TypeError: JSON cannot represent its data.
        ValueError: The same.
    """
    return _text({"id": id_, _NAMES[type(request)]: _fields(request)})


def publish_command(id_: int, channel: str, data: str) -> str:
    """Return the line of a command that publishes; `data` is JSON in one line, see `embed`."""
    return f'{{"id":{id_},"publish":{{"channel":{_text(channel)},"data":{data}}}}}'


def reply(id_: int, result: Result) -> str:
    """Return the line of a reply with a result."""
    return _text({"id": id_, _NAMES[type(result)]: _fields(result)})


def reply_with_publications(
    id_: int, result: SubscribeResult | HistoryResult, publications: Iterable[str]
) -> str:
    """Return the line of a reply with publications, which `publication` has made."""
    text, joined = reply(id_, result), ",".join(publications)
    if not joined:
        return text
    comma = "" if text.endswith("{}}") else ","
    return f'{text[:-2]}{comma}"publications":[{joined}]}}}}'


def error_reply(id_: int, error: ErrorReply) -> str:
    """Return the line of a reply with an error."""
    return _text({"id": id_, "error": _fields(error)})


def publication(data: str, offset: int = 0) -> str:
    """Return the JSON of a publication; `data` is JSON in one line, see `embed`."""
    return f'{{"data":{data},"offset":{offset}}}' if offset else f'{{"data":{data}}}'


def publication_push(channel: str, pub: str) -> str:
    """Return the line that pushes a publication, which `publication` has made."""
    return f'{{"push":{{"channel":{_text(channel)},"pub":{pub}}}}}'


def message_push(data: str) -> str:
    """Return the line that pushes a message to a user; `data` is JSON in one line."""
    return f'{{"push":{{"message":{{"data":{data}}}}}}}'


def push(channel: str, body: PushBody) -> str:
    """Return the line of a push."""
    name = _NAMES[type(body)]
    return _text({"push": {"channel": channel, name: _fields(body)}})


def embed(json_text: str) -> str:
    """Return JSON in one line: a newline between tokens would end the message."""
    return json_text.replace("\n", " ") if "\n" in json_text else json_text
