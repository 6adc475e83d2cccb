"""The HTTP part of the opening handshake as bytes (RFC 6455, section 4), right or wrong."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


@dataclass(frozen=True, slots=True)
class Head:
    """The first line and the headers (names in lower case) of a request or a response."""

    line: str
    headers: dict[str, str]

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.line.split(" ")[1])

    @classmethod
    def parse(cls, data: bytes) -> Head:
        """The head that these bytes, without their empty last line, are."""
        line, *rest = data.decode("latin-1").split("\r\n")
        pairs = (header.partition(":") for header in rest)
        return cls(line, {name.strip().lower(): value.strip() for name, _, value in pairs})


def accept_key(key: str) -> str:
    """What a server answers in Sec-WebSocket-Accept."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def encode_head(line: str, headers: Mapping[str, str | None]) -> bytes:
    """A head as bytes; a header that is None is left out."""
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([line, *lines, "", ""]).encode()
