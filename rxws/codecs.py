"""Codecs: between a frame, `str` for text and `bytes` for binary, and the user's value."""

from __future__ import annotations

import json as _json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, TypeVar, overload

from rxws._core.errors import DecodeError, EncodeError

__all__ = ["Codec", "binary", "json", "raw", "text", "typed"]

# Neither parameter can vary: In stands in a result and Out in an argument, but both in one value.
In = TypeVar("In")
Out = TypeVar("Out")
T = TypeVar("T")

# RFC 6455, section 7.4.1: "received a type of data it cannot accept".
_WRONG_KIND = 1003


@dataclass(frozen=True)  # no slots: `Codec[int, int](…)` fails with them before Python 3.12
class Codec(Generic[In, Out]):
    """A pair of functions between frames and values.

    Args:
        encode: Makes a frame of a value: `str` goes as text, `bytes` as binary.
        decode: Makes a value of a frame. What it raises becomes a `DecodeError` on `errors`.

    Examples:
        >>> numbers = Codec[int, int](encode=str, decode=int)
        >>> numbers.decode("7"), numbers.encode(8)
        (7, '8')
    """

    encode: Callable[[Out], str | bytes]
    decode: Callable[[str | bytes], In]


_FRAME = (str, bytes)  # made once: this is asked for every message


def _encode_raw(value: str | bytes) -> str | bytes:
    if isinstance(value, _FRAME):
        return value
    if isinstance(value, bytearray | memoryview):  # a caller from aiohttp may have these
        return bytes(value)
    raise EncodeError(
        f"cannot send {type(value).__name__} {value!r:.80}: this codec takes str or bytes; "
        "map it first, or use codec=rxws.codecs.json",
        value,
    )


def _keep(frame: str | bytes) -> str | bytes:
    return frame


def _text_only(frame: str | bytes) -> str:
    if isinstance(frame, str):
        return frame
    raise DecodeError("a binary frame came where only text is spoken", frame, _WRONG_KIND)


def _binary_only(frame: str | bytes) -> bytes:
    if isinstance(frame, bytes):
        return frame
    raise DecodeError("a text frame came where only binary is spoken", frame, _WRONG_KIND)


def _encode_text(value: str) -> str:
    if isinstance(value, str):
        return value
    raise EncodeError(
        f"cannot send {type(value).__name__} {value!r:.80}: this codec takes str; map it",
        value,
    )


def _encode_binary(value: bytes) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    raise EncodeError(
        f"cannot send {type(value).__name__} {value!r:.80}: this codec takes bytes; encode it",
        value,
    )


raw: Codec[str | bytes, str | bytes] = Codec(_encode_raw, _keep)
"""Both kinds of frames as they are; the default."""

text: Codec[str, str] = Codec(_encode_text, _text_only)
"""Text frames as `str`; a binary frame is a fault (1003)."""

binary: Codec[bytes, bytes] = Codec(_encode_binary, _binary_only)
"""Binary frames as `bytes`; a text frame is a fault (1003)."""


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259, section 6)")


# RFC 8259 has no NaN and no Infinity, and a browser's JSON.parse fails on them.
_encode_json = _json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_decode_json = _json.JSONDecoder(parse_constant=_no_constant).decode


json: Codec[Any, Any] = Codec(_encode_json, lambda frame: _decode_json(_text_only(frame)))
"""JSON in text frames, by the standard library; a binary frame is a fault (1003)."""


@overload
def typed(type_: type[T]) -> Codec[T, Any]: ...
@overload
def typed(type_: Any) -> Codec[Any, Any]: ...
def typed(type_: Any) -> Codec[Any, Any]:
    """JSON in text frames, checked against a type by msgspec (extra `rxws[typed]`).

    Args:
        type_: What comes in: a `msgspec.Struct`, a dataclass, a union of tagged structs, or any
            type msgspec knows. What goes out may be anything that msgspec encodes.

    Returns:
        A codec whose `decode` gives a `type_`; what does not fit is a `DecodeError`.

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
        raise ImportError("rxws.codecs.typed needs msgspec: pip install 'rxws[typed]'") from exc

    decode = msgspec.json.Decoder(type_).decode
    encode = msgspec.json.Encoder().encode
    return Codec(lambda value: encode(value).decode(), lambda frame: decode(_text_only(frame)))
