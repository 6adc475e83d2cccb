"""The vocabulary of a connection: frozen values, without behaviour beyond checking themselves."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:  # for annotations only: nothing down here runs aiohttp
    from aiohttp import web
    from yarl import URL

__all__ = ["Address", "Close", "Ender", "Frame", "Handshake", "Kind", "without_secrets"]

Ender = Literal["local", "peer", "network"]
"""Who ended a connection."""

Address = tuple[str, int] | tuple[str, int, int, int] | str | None
"""A socket's address: host and port, IPv6's four values, a Unix socket's path, or unknown."""

# RFC 6455, section 5.5: a control frame carries at most 125 bytes, of which the code takes two.
_MAX_REASON = 123

# RFC 6455, section 7.4.1, and the registry of IANA that it founds.
_NAMES = {
    1000: "normal closure",
    1001: "going away",
    1002: "protocol error",
    1003: "unsupported data",
    1005: "no code received",
    1006: "abnormal closure",
    1007: "invalid payload",
    1008: "policy violation",
    1009: "message too big",
    1010: "missing extension",
    1011: "internal error",
    1012: "service restart",
    1013: "try again later",
    1014: "bad gateway",
    1015: "TLS handshake failed",
}


@dataclass(frozen=True, slots=True)
class Close:
    """How a connection ended, or, sent on `outgoing`, how it shall end.

    Args:
        code: The close code, 1000 to 4999 (RFC 6455, section 7.4). Not every code may be sent.
        reason: Text for humans, at most 123 bytes of UTF-8.
        by: Who ended it: `"local"`, `"peer"` (its close frame did) or `"network"` (TCP or the
            heartbeat was lost). Takes no part in equality.

    Raises:
        ValueError: The code is out of range, or the reason too long or not encodable.
        TypeError: The code is no `int`, or the reason no `str`.

    Examples:
        >>> Close(4001, "why") == Close(4001, "why", by="peer")
        True
    """

    code: int = 1000
    reason: str = ""
    by: Ender = field(default="local", compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.code, int) or isinstance(self.code, bool):
            raise TypeError(f"a close code is an int from 1000 to 4999, not {self.code!r}")
        if not isinstance(self.reason, str):
            raise TypeError(f"a close reason is a str, not {self.reason!r}")
        if not 1000 <= self.code <= 4999:
            raise ValueError(
                f"close code {self.code} is not in 1000..4999; use 4000..4999 for your own"
            )
        if not self.reason:
            return
        try:
            length = len(self.reason.encode())
        except UnicodeEncodeError as exc:
            raise ValueError(f"close reason {self.reason!r} cannot be sent as UTF-8") from exc
        if length > _MAX_REASON:
            raise ValueError(
                f"close reason of {length} bytes: at most {_MAX_REASON} bytes of UTF-8 fit, "
                f"shorten {self.reason!r}"
            )

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        """Say in a notebook what the code means, too; not within a list, which goes on behind."""
        name = _NAMES.get(self.code) if len(printer.stack) == 1 else None
        printer.text(f"{self!r}  # {name}" if name else repr(self))


@dataclass(frozen=True, slots=True)
class Handshake:
    """What was agreed before the first frame.

    Args:
        url: The address that was asked for, as a `yarl.URL`.
        headers: The other side's: the request's on the server, the response's on the client.
        subprotocol: The subprotocol both agreed upon, if any (RFC 6455, section 1.9).
        remote: The peer's socket address, where known.
        request: On the server the aiohttp request, with all that middlewares put on it.
    """

    url: URL
    headers: Mapping[str, str]
    subprotocol: str | None = None
    remote: Address = None
    request: web.Request | None = None


def without_secrets(url: URL) -> URL:
    """Return an address without its user and query, which often carry a password or a token."""
    return url.with_user(None).with_query(None)


class Kind(enum.IntEnum):
    """What a frame carries; the values are the opcodes of RFC 6455, section 5.2."""

    TEXT = 0x1
    BINARY = 0x2
    CLOSE = 0x8
    PING = 0x9
    PONG = 0xA


class Frame(NamedTuple):
    """One frame on its way out: its kind and its payload in bytes."""

    kind: Kind
    payload: bytes
