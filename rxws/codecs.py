"""Codecs: convert between frames (`str` or `bytes`) and your values."""

from __future__ import annotations

import json as _json
from collections.abc import Callable
from dataclasses import dataclass, is_dataclass
from typing import Any, Generic, NoReturn, TypeVar, overload

from rxws._core.errors import DecodeError, EncodeError, short_repr

__all__ = ["Codec", "binary", "json", "raw", "text", "typed"]

# Both parameters are invariant.
In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

_UNSUPPORTED_DATA = 1003  # RFC 6455, section 7.4.1: "received a type of data it cannot accept"
_FRAME = (str, bytes)


@dataclass(frozen=True)  # not slots=True: `Codec[int, int](…)` would fail before Python 3.12
class Codec(Generic[In, Out]):
    """A pair of functions that convert between frames and values.

    Args:
        encode: Returns a value's frame: `str` for a text frame, `bytes` for a binary frame. Called
            by each thread that pushes values, within `on_next`.
        decode: Returns a frame's value. If it raises, `errors` emits a `DecodeError`.

    Examples:
        >>> numbers = Codec[int, int](encode=str, decode=int)
        >>> numbers.decode("7"), numbers.encode(8)
        (7, '8')
    """

    encode: Callable[[Out], str | bytes]
    decode: Callable[[str | bytes], In]


def _cannot_send(value: object, accepted: str) -> EncodeError:
    what = f"{type(value).__name__} {short_repr(value)}"
    return EncodeError(f"cannot send {what}: this codec accepts {accepted}", value)


def _encode_raw(value: str | bytes) -> str | bytes:
    if isinstance(value, _FRAME):
        return value
    if isinstance(value, bytearray | memoryview):  # as aiohttp does
        return bytes(value)
    raise _cannot_send(value, "str or bytes; convert it first, or use codec=rxws.codecs.json")


def _unchanged(frame: str | bytes) -> str | bytes:
    return frame


def _text_only(frame: str | bytes) -> str:
    if isinstance(frame, str):
        return frame
    raise DecodeError(
        "received a binary frame, but this codec accepts only text", frame, _UNSUPPORTED_DATA
    )


def _binary_only(frame: str | bytes) -> bytes:
    if isinstance(frame, bytes):
        return frame
    raise DecodeError(
        "received a text frame, but this codec accepts only binary", frame, _UNSUPPORTED_DATA
    )


def _encode_text(value: str) -> str:
    if isinstance(value, str):
        return value
    raise _cannot_send(value, "str; convert it")


def _encode_binary(value: bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise _cannot_send(value, "bytes; encode it")


raw: Codec[str | bytes, str | bytes] = Codec(_encode_raw, _unchanged)
"""Text and binary frames, unchanged. This is the default."""

text: Codec[str, str] = Codec(_encode_text, _text_only)
"""Text frames as `str`. A binary frame is a `DecodeError` (1003)."""

binary: Codec[bytes, bytes] = Codec(_encode_binary, _binary_only)
"""Binary frames as `bytes`. A text frame is a `DecodeError` (1003)."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259, section 6)")


def _finite(text: str) -> float:
    number = float(text)
    if number - number != 0:  # infinite, which is quicker to find out so than by `isinf`
        raise ValueError(f"{text:.40} is too large for a float")
    return number


def _refuse(value: object) -> NoReturn:
    convert = (
        "convert it, for example with dataclasses.asdict" if is_dataclass(value) else "convert it"
    )
    raise TypeError(
        f"Object of type {type(value).__name__} is not JSON serializable: {convert}, or use "
        "codec=rxws.codecs.typed(...), which encodes dataclasses, datetimes, sets and more"
    )


# RFC 8259 has no NaN and no Infinity, and a browser's JSON.parse fails on them.
_encode_json = _json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_refuse
).encode
_parse_json = _json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite).decode


def _decode_json(frame: str | bytes) -> Any:
    """Decode only what can be encoded again: a room sends to all what one peer has sent."""
    text = _text_only(frame)
    value = _parse_json(text)
    if "\\ud" in text or "\\uD" in text:  # perhaps a half of a surrogate pair, which has no UTF-8
        _encode_json(value).encode()
    return value


json: Codec[Any, Any] = Codec(_encode_json, _decode_json)
"""JSON in text frames, with the standard library. A binary frame is a `DecodeError` (1003)."""


@overload
def typed(type_: type[T]) -> Codec[T, Any]: ...
@overload
def typed(type_: Any) -> Codec[Any, Any]: ...
def typed(type_: Any) -> Codec[Any, Any]:
    """Create a JSON codec that validates incoming messages with msgspec (extra `rxws[typed]`).

    Args:
        type_: The type of incoming messages: a `msgspec.Struct`, a dataclass, a union of tagged
            structs, or any other type that msgspec supports. Outgoing messages may be of any type
            that msgspec can encode.

    Returns:
        A codec that decodes to `type_`. A message that does not match is a `DecodeError`.

    Raises:
        ImportError: msgspec is not installed.
        TypeError: msgspec cannot decode into this type.

    Examples:
        >>> typed(dict[str, int]).decode('{"a": 1}')
        {'a': 1}
    """
    try:
        import msgspec
    except ImportError as exc:
        raise ImportError(
            "rxws.codecs.typed needs msgspec: pip install 'path/to/rxws[typed]'"
        ) from exc

    decode = msgspec.json.Decoder(type_).decode
    encode = msgspec.json.Encoder().encode
    return Codec(lambda value: encode(value).decode(), lambda frame: decode(_text_only(frame)))
