"""Parses and builds the messages of JSON-RPC 2.0."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeAlias, cast

from rxws import codecs
from rxws._core.errors import EncodeError, short_repr
from rxws._core.log import text_of
from rxws._core.streams.coroutines import never_used

from ._errors import ErrorCode, ResponseError

__all__ = [
    "CANCEL",
    "PROGRESS",
    "TOKEN",
    "Answer",
    "Id",
    "Invalid",
    "Message",
    "Notification",
    "Params",
    "Request",
    "build",
    "cancel",
    "decode",
    "encode",
    "error_answer",
    "is_id",
    "notification",
    "parse",
    "progress",
    "request",
    "result_answer",
    "to_error",
]

# Of the Language Server Protocol.
CANCEL: Final = "$/cancelRequest"
PROGRESS: Final = "$/progress"
TOKEN: Final = "partialResultToken"

Id: TypeAlias = str | int | float | None
Params: TypeAlias = list[Any] | dict[str, Any] | None
"""The arguments by position or by name; None if the message has none."""


def _json_functions() -> tuple[Callable[[str | bytes], Any], Callable[[Any], str]]:
    """Return `decode` and `encode`: those of msgspec if it is installed."""
    try:
        import msgspec
    except ImportError:

        def decode(frame: str | bytes, /) -> Any:
            return codecs.json.decode(frame if isinstance(frame, str) else frame.decode())

        def encode(value: Any) -> str:
            text: Any = codecs.json.encode(value)
            text.encode()  # or raise, as msgspec does: half of a surrogate pair has no UTF-8
            return text  # type: ignore[no-any-return] # checked by the line above
    else:
        to_json = msgspec.json.Encoder().encode
        from_json: Callable[[str | bytes], Any] = msgspec.json.Decoder().decode
        decode = from_json

        def encode(value: Any) -> str:
            return to_json(value).decode()

    return decode, encode


decode, encode = _json_functions()


# Tuples: `str | int` would be created at each check.
_ID = (str, int, float, type(None))
_PARAMS = (list, dict)


class Request(NamedTuple):
    """A request, which must be answered."""

    id: Id
    method: str
    params: Params


class Notification(NamedTuple):
    """A request without an id, which must not be answered."""

    method: str
    params: Params


class Answer(NamedTuple):
    """A response to a request of ours; `error` is None if it has a result."""

    id: Id
    result: Any
    error: Any


class Invalid(NamedTuple):
    """JSON that is no message of JSON-RPC."""

    id: Id
    problem: str
    answered: bool = True  # not if it looks like a response


Message: TypeAlias = Request | Notification | Answer | Invalid


def is_id(value: object) -> bool:
    """Return whether a value may be the id of a request."""
    return isinstance(value, _ID) and not isinstance(value, bool)


def parse(data: Any) -> Message:
    """Return the message that a JSON value represents."""
    if not isinstance(data, dict):  # of strings, as JSON has no other keys
        return Invalid(None, f"a message is an object, not {type(data).__name__}")
    fields = cast(dict[str, Any], data)
    has_id = "id" in fields
    id_ = fields.get("id")
    if id_.__class__ is not int and not is_id(id_):
        return Invalid(None, "the id is not a string, a number or null", "method" in fields)
    if "method" not in fields:
        return _parse_answer(fields, has_id, id_)
    method = fields["method"]
    if fields.get("jsonrpc") != "2.0":
        return Invalid(id_, 'jsonrpc is not "2.0"')
    if not isinstance(method, str):
        return Invalid(id_, "the method is not a string")
    params = fields.get("params")
    if not isinstance(params, _PARAMS) and "params" in fields:
        return Invalid(id_, "the params are neither an array nor an object")
    return Request(id_, method, params) if has_id else Notification(method, params)


def _parse_answer(fields: dict[str, Any], has_id: bool, id_: Id) -> Message:
    has_result, has_error = "result" in fields, "error" in fields
    if not (has_result or has_error):
        return Invalid(id_, "there is no method")
    if not has_id:
        return Invalid(None, "a response has no id", answered=False)
    if fields.get("jsonrpc") != "2.0":
        return Invalid(None, 'jsonrpc of a response is not "2.0"', answered=False)
    error = fields.get("error")
    if has_error and error is not None and has_result and fields["result"] is not None:
        return Invalid(None, "a response has both a result and an error", answered=False)
    if has_error and error is None and not has_result:
        return Invalid(None, "the error of a response is null", answered=False)
    return Answer(id_, fields.get("result"), error)


def to_error(error: Any) -> ResponseError:
    """Return the exception for the error of a response, which may have any shape."""
    fields = cast(dict[str, Any], error) if isinstance(error, dict) else {}
    code, message = fields.get("code"), fields.get("message")
    if not isinstance(code, int) or isinstance(code, bool):
        code = ErrorCode.INTERNAL_ERROR
    if not isinstance(message, str):
        return ResponseError(code, "the error of the response is malformed", error)
    return ResponseError(code, message, fields.get("data"))


# --- building: all raise an EncodeError if JSON cannot represent a value --------------------------


def build(fields: dict[str, Any], value: object) -> str:
    """Return the text of a message; `value` is the part of it that comes from the user.

    Raises:
        EncodeError: JSON cannot represent the value.
    """
    try:
        return encode(fields)
    except Exception as exc:
        problem = never_used(value) or text_of(exc)
        raise EncodeError(f"cannot send {short_repr(value)} as JSON: {problem}", value) from exc


def request(id_: int, method: str, params: Any) -> str:
    fields: dict[str, Any] = {"jsonrpc": "2.0", "id": id_, "method": method}
    if params:
        fields["params"] = params
    return build(fields, params)


def notification(method: str, params: Any) -> str:
    fields: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params:
        fields["params"] = params
    return build(fields, params)


def progress(token: Id, items: list[Any]) -> str:
    return notification(PROGRESS, {"token": token, "value": items})


def cancel(id_: int) -> str:
    return notification(CANCEL, {"id": id_})


def result_answer(id_: Id, result: Any) -> str:
    return build({"jsonrpc": "2.0", "id": id_, "result": result}, result)


def error_answer(id_: Id, error: ResponseError) -> str:
    body: dict[str, Any] = {"code": int(error.code), "message": error.message}
    if error.data is not None:
        body["data"] = error.data
    return build({"jsonrpc": "2.0", "id": id_, "error": body}, error.data)
