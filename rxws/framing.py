"""Between values and frames: a codec applied, with whatever it raises made a typed error."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, TypeVar

from .codecs import Codec
from .errors import DecodeError, EncodeError
from .messages import Frame, Kind
from .overflow import Latest, Overflow

__all__ = ["conflation_key", "decode", "encode", "size"]

T = TypeVar("T")


def encode(codec: Codec[Any, T], value: T) -> Frame:
    """Make the frame of a value.

    Raises:
        EncodeError: The codec cannot encode it.
    """
    try:
        encoded: object = codec.encode(value)
        if isinstance(encoded, str):
            return Frame(Kind.TEXT, encoded.encode())
        if isinstance(encoded, bytes):
            return Frame(Kind.BINARY, encoded)
        raise TypeError(f"the codec made {type(encoded).__name__} of it, not str or bytes")
    except EncodeError:
        raise
    except Exception as exc:
        raise EncodeError(f"cannot encode {value!r:.80}: {exc}", value) from exc


def conflation_key(policy: Overflow, value: object) -> Hashable:
    """Return what tells the message from those that it does not replace, if the policy conflates.

    Raises:
        EncodeError: The user's key function failed.
    """
    if not isinstance(policy, Latest):
        return None
    try:
        key = policy.of(value)
        hash(key)
    except Exception as exc:
        raise EncodeError(f"the key of overflow.latest failed for {value!r:.80}", value) from exc
    return key


def decode(codec: Codec[T, Any], data: str | bytes) -> T:
    """Make the value of a message.

    Raises:
        DecodeError: The codec cannot decode it.
    """
    try:
        return codec.decode(data)
    except DecodeError:
        raise
    except Exception as exc:
        raise DecodeError(f"cannot decode {data!r:.80}: {exc}", data) from exc


def size(data: str | bytes) -> int:
    """Return the bytes of a message's payload."""
    return len(data) if isinstance(data, bytes) or data.isascii() else len(data.encode())
