"""Encode and parse the opening handshake (RFC 6455, section 4), valid or not."""

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
        """Parse a head, without the empty line at its end."""
        line, *rest = data.decode("latin-1").split("\r\n")
        pairs = (header.partition(":") for header in rest)
        return cls(line, {name.strip().lower(): value.strip() for name, _, value in pairs})


def accept_key(key: str) -> str:
    """Return the value of Sec-WebSocket-Accept."""
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


def encode_head(line: str, headers: Mapping[str, str | None]) -> bytes:
    """Encode a head; a header that is None is left out."""
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([line, *lines, "", ""]).encode()
