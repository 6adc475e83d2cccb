"""Which web pages may connect: the check of `Origin` before the upgrade, as plain functions.

Browsers let any page open a WebSocket to anywhere, with the user's cookies; only the server can
refuse (RFC 6455, section 10.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["SAME_HOST", "Origins", "is_allowed", "parse_origins"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Origin(NamedTuple):
    """An origin, its port filled in where its scheme has one (RFC 6454, section 4)."""

    scheme: str
    host: str
    port: int | None


Origins = frozenset[Origin] | None
"""Who may connect: these, or anybody (None)."""

SAME_HOST: frozenset[Origin] = frozenset()
"""Pages whose host and port are those that the request was sent to."""


def parse_origins(origins: str | Iterable[str] | None) -> Origins:
    """Read the option `origins`.

    Args:
        origins: None for the same host, `"*"` for any, or a list of `scheme://host[:port]`.

    Raises:
        ValueError: An entry is no origin.
    """
    if origins is None:
        return SAME_HOST
    if origins == "*":
        return None
    if isinstance(origins, str):
        raise ValueError(f"origins={origins!r}: use a list, [{origins!r}], or '*' for any")
    parsed: set[Origin] = set()
    for text in origins:
        origin = _parse(text)
        if origin is None:
            raise ValueError(
                f"origins has {text!r}: write it as 'https://example.org' or with ':port'"
            )
        parsed.add(origin)
    if not parsed:
        raise ValueError("origins=[] lets no page in: leave it out for the same host, or list some")
    return frozenset(parsed)


def is_allowed(origins: list[str], host: str | None, allowed: Origins) -> bool:
    """Tell whether a request may be upgraded.

    Args:
        origins: Its `Origin` headers; none where the client is no browser.
        host: Its `Host` header.
        allowed: Who may connect.

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
    # A TLS proxy in front speaks plain HTTP to us, so a missing port is the Origin's scheme's.
    target = None if host is None else _parse(f"{origin.scheme}://{host}")
    return target is not None and (origin.host, origin.port) == (target.host, target.port)


def _parse(text: str) -> Origin | None:
    """Read a serialized origin; None for `null`, and for what is more or less than an origin."""
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
