"""Decide by the `Origin` header of a request which web pages may connect.

A browser lets any page open a WebSocket to any server, and sends the user's cookies with it. So the
server must check where the page is from (RFC 6455, section 10.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["SAME_HOST", "Origins", "is_allowed", "parse_origins"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origin(NamedTuple):
    """An origin, with the scheme's default port filled in (RFC 6454, section 4)."""

    scheme: str
    host: str
    port: int | None


Origins = frozenset[Origin] | None
"""The allowed origins; None allows any."""

SAME_HOST: frozenset[Origin] = frozenset()
"""Allows only pages from the host and port that the request was sent to."""


def parse_origins(origins: str | Iterable[str] | None) -> Origins:
    """Parse the option `origins`: None, `"*"` or a list of `scheme://host[:port]`."""
    if origins is None:
        return SAME_HOST
    if origins == "*":
        return None
    if isinstance(origins, str):
        raise ValueError(f"origins={origins!r}: use a list, [{origins!r}], or '*' for any")
    parsed: set[Origin] = set()
    for text in origins:
        if (origin := _parse(text)) is None:
            raise ValueError(f"origins has {text!r}: use 'https://example.org', or with ':port'")
        parsed.add(origin)
    if not parsed:
        raise ValueError("origins=[] allows no page: add some, or omit it for the same host")
    return frozenset(parsed)


def is_allowed(origins: list[str], host: str | None, allowed: Origins) -> bool:
    """Return whether a request with these `Origin` headers and this `Host` header may be upgraded.

    Clients other than browsers send no `Origin`, and are always allowed.

    Examples:
        >>> is_allowed(["https://example.org"], "example.org", SAME_HOST)
        True
        >>> is_allowed(["https://example.org.evil"], "example.org", SAME_HOST)
        False
    """
    if not origins or allowed is None:
        return True
    origin = _parse(origins[0])
    if origin is None or len(origins) > 1:
        return False
    if allowed is not SAME_HOST:
        return origin in allowed
    # A TLS proxy forwards plain HTTP, so take the scheme, and its default port, from the Origin.
    target = None if host is None else _parse(f"{origin.scheme}://{host}")
    return target is not None and (origin.host, origin.port) == (target.host, target.port)


def _parse(text: str) -> Origin | None:
    """Parse `scheme://host[:port]`; return None if it is anything else, such as `null`."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname or parts.path or parts.query or parts.fragment:
        return None
    if "@" in parts.netloc or parts.netloc.endswith(":"):
        return None
    scheme = parts.scheme.lower()
    return Origin(scheme, parts.hostname.lower(), port if port is not None else _PORTS.get(scheme))
