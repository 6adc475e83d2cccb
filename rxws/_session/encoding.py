"""Between values and frames: a codec applied, with whatever it raises made a typed error."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, TypeVar

from rxws._core.errors import DecodeError, EncodeError
from rxws._core.frames import Opcode
from rxws.codecs import Codec, raw
from rxws.overflow import Latest

__all__ = ["conflation_key", "decode_error", "decoder", "encode", "encoder", "size"]

T = TypeVar("T")

_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY


def encode(codec: Codec[Any, T], value: T) -> tuple[Opcode, bytes]:
    """Make the kind and the payload of a value's frame.

    Raises:
        EncodeError: The codec cannot encode it.
    """
    try:
        encoded: object = codec.encode(value)
        if isinstance(encoded, str):
            return _TEXT, encoded.encode()
        if isinstance(encoded, bytes):
            return _BINARY, encoded
        raise TypeError(f"the codec made {type(encoded).__name__} of it, not str or bytes")
    except EncodeError:
        raise
    except Exception as exc:
        raise EncodeError(f"cannot encode {value!r:.80}: {exc}", value) from exc


def encoder(codec: Codec[Any, T]) -> Callable[[T], tuple[Opcode, bytes]]:
    """Return what does as `encode`, in one step where the values are frames already."""
    return _encode_frame if codec is raw else partial(encode, codec)


def _encode_frame(value: Any) -> tuple[Opcode, bytes]:
    if value.__class__ is bytes:
        return _BINARY, value
    try:
        return _TEXT, str.encode(value)
    except (TypeError, UnicodeEncodeError):
        return encode(raw, value)


def decoder(codec: Codec[T, Any]) -> Callable[[str | bytes], T] | None:
    """Return what makes values of messages, None where they are values already."""
    return None if codec.decode is raw.decode else codec.decode


def conflation_key(policy: Latest, value: object) -> Hashable:
    """Return what tells the message from those that it does not replace.

    Raises:
        EncodeError: The user's key function failed.
    """
    try:
        key = policy.of(value)
        hash(key)
    except Exception as exc:
        raise EncodeError(f"the key of overflow.latest failed for {value!r:.80}", value) from exc
    return key


def decode_error(error: Exception, data: str | bytes) -> DecodeError:
    """Return what to tell of an exception that a codec raised on a message."""
    if isinstance(error, DecodeError):
        return error
    told = DecodeError(f"cannot decode {data!r:.80}: {error}", data)
    told.__cause__ = error
    return told


def size(data: str | bytes) -> int:
    """Return the bytes of a message's payload."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
