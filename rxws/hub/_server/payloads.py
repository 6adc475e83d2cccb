"""How payloads of topics appear in the protocol, which is JSON."""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

from rxws import codecs
from rxws._core.errors import DecodeError
from rxws._session.encoding import decode_error
from rxws.codecs import Codec
from rxws.hub._protocol.frames import embed

__all__ = ["NotText", "Payloads"]

_SAMPLE = [{"sample": "ä\n"}, 1]


class NotText(Exception):
    """A payload is binary, which the protocol cannot carry."""


class _Kind(Enum):
    JSON = auto()
    TEXT = auto()


class Payloads:
    """Converts between payloads of a hub's codec and JSON.

    If the codec encodes to JSON, payloads are embedded as they are; a sample shows whether it does.
    With any other codec, a text payload is a JSON string, and a binary payload is not possible.

    Raises:
        TypeError: The codec is `codecs.binary`.
    """

    def __init__(self, codec: Codec[Any, Any]) -> None:
        if codec is codecs.binary:
            raise TypeError(
                "hub.serve speaks JSON, which cannot carry the payloads of codecs.binary: use a "
                "hub with codec=rxws.codecs.json or rxws.codecs.text"
            )
        self._codec = codec
        self._kind = _Kind.JSON if _is_json(codec) else _Kind.TEXT

    def of_value(self, value: Any) -> str:
        """Return the JSON of a value.

        Raises:
            NotText: The codec encodes it to bytes.
        """
        return self.of_payload(self._codec.encode(value))

    def of_payload(self, payload: str | bytes) -> str:
        """Return the JSON of a payload.

        Raises:
            NotText: It is binary.
        """
        if self._kind is _Kind.TEXT:
            if not isinstance(payload, str):
                raise NotText
            return str(codecs.json.encode(payload))
        return embed(payload if isinstance(payload, str) else payload.decode())

    def parse(self, data: Any) -> tuple[str | bytes, Any]:
        """Return the payload and the value for JSON that a client publishes.

        Raises:
            DecodeError: The codec cannot decode it, or the data is no string and must be one.
        """
        if self._kind is _Kind.TEXT:
            if not isinstance(data, str):
                raise DecodeError("use a string", "")
            payload = data
        else:
            try:
                payload = str(codecs.json.encode(data))
            except RecursionError as exc:
                raise DecodeError("the data is nested too deeply", "") from exc
        try:
            value = self._codec.decode(payload)
        except Exception as exc:
            raise decode_error(exc, payload) from exc
        return payload, value


def _is_json(codec: Codec[Any, Any]) -> bool:
    if codec is codecs.json:
        return True
    try:
        frame: Any = codec.encode(_SAMPLE)
        return bool(
            codecs.json.decode(frame if isinstance(frame, str) else frame.decode()) == _SAMPLE
        )
    except Exception:
        return False
