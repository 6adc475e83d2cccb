"""Applies codecs and key functions, and wraps what they raise in typed errors."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, NamedTuple, TypeVar

from rxws._core.broadcast import Broadcast
from rxws._core.errors import DecodeError, EncodeError, short_repr
from rxws._core.frames import Opcode
from rxws._core.log import text_of
from rxws._core.streams.coroutines import never_used
from rxws.codecs import Codec, raw
from rxws.overflow import Latest

__all__ = [
    "IMMUTABLE",
    "DecodedFrames",
    "Encoded",
    "conflation_key",
    "decode_error",
    "decoder",
    "encode",
    "encoder",
    "frame_if_different",
    "is_unicode",
    "shared_key",
    "size",
]

T = TypeVar("T")

_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY

IMMUTABLE = (str, bytes, int, float, type(None))
"""Types of values that nobody can change after they were pushed."""


class Encoded(NamedTuple):
    """The frame of a value, encoded when it was pushed, so that later changes do not matter."""

    opcode: Opcode
    payload: bytes
    key: Hashable = None
    """The value's key, for the policy `overflow.latest`."""


def encode(codec: Codec[Any, T], value: T) -> tuple[Opcode, bytes]:
    """Return the opcode and the payload of a value's frame.

    Raises:
        EncodeError: The codec cannot encode the value.
    """
    try:
        encoded: object = codec.encode(value)
        if isinstance(encoded, str):
            return _TEXT, encoded.encode()
        if isinstance(encoded, bytes):
            return _BINARY, encoded
        raise TypeError(f"the codec returned {type(encoded).__name__}, not str or bytes")
    except Exception as exc:
        if problem := never_used(value):
            raise EncodeError(f"cannot send {type(value).__name__}: {problem}", value) from exc
        if isinstance(exc, EncodeError):
            raise
        text = f"cannot encode {short_repr(value)}: {text_of(exc)}"
        raise EncodeError(text, value) from exc


def encoder(codec: Codec[Any, T]) -> Callable[[T], tuple[Opcode, bytes]]:
    """Return `encode` for one codec; for `raw` it skips the codec's call."""
    return _encode_raw if codec is raw else partial(encode, codec)


def _encode_raw(value: Any) -> tuple[Opcode, bytes]:
    if value.__class__ is bytes:
        return _BINARY, value
    try:
        return _TEXT, str.encode(value)
    except (TypeError, UnicodeEncodeError):
        return encode(raw, value)


def decoder(codec: Codec[T, Any]) -> Callable[[str | bytes], T] | None:
    """Return the function that decodes a message, or None if there is nothing to decode."""
    return None if codec.decode is raw.decode else codec.decode


class DecodedFrames:
    """A codec's `decode` that remembers the latest frame: a recording keeps it with the value."""

    __slots__ = ("decode", "latest")

    def __init__(self, decode: Callable[[str | bytes], Any]) -> None:
        self.decode = decode
        self.latest: str | bytes | None = None

    def __call__(self, frame: str | bytes) -> Any:
        self.latest = frame
        return self.decode(frame)


def frame_if_different(value: object, frame: str | bytes | None) -> str | bytes | None:
    """Return the frame, or None if the value is the frame itself."""
    return None if value.__class__ is frame.__class__ and value == frame else frame


def conflation_key(policy: Latest, value: object) -> Hashable:
    """Return the key of a message: a newer message replaces a queued one of the same key.

    Raises:
        EncodeError: The user's key function failed.
    """
    try:
        key = policy.of(value)
        hash(key)
    except Exception as exc:
        raise EncodeError(
            f"the key of overflow.latest failed for {short_repr(value)}", value
        ) from exc
    return key


def shared_key(delivery: Broadcast, policy: Latest, value: object) -> Hashable:
    """Do as `conflation_key`, but call the key function once for all connections."""
    return delivery.once(policy.key, partial(conflation_key, policy), value)


def decode_error(error: Exception, data: str | bytes) -> DecodeError:
    """Wrap an exception that a codec raised, unless it is a `DecodeError` already."""
    if isinstance(error, DecodeError):
        return error
    wrapped = DecodeError(f"cannot decode {data!r:.80}: {text_of(error)}", data)
    wrapped.__cause__ = error
    return wrapped


def is_unicode(text: str) -> bool:
    """Return whether a text has no lone surrogate, which UTF-8 cannot encode."""
    try:
        return text.isascii() or bool(text.encode())
    except UnicodeEncodeError:
        return False


def size(data: str | bytes) -> int:
    """Return the size of a message's payload in bytes."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
