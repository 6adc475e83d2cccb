"""Decide by the `Origin` header of a request which web pages may connect.

A browser lets any page open a WebSocket to any server, and sends the user's cookies with it. So the
server must check where the page is from (RFC 6455, section 10.2).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["SAME_HOST", "Origins", "is_allowed", "parse_origins"]

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}

_LABEL = r"[a-z0-9_~!$&'()+,;=-]+"  # RFC 3986, section 3.2.2, without "*", "%" and "."
_HOST = re.compile(rf"{_LABEL}(\.{_LABEL})*\.?")
_NUMBER = re.compile(r"(.*\.)?(\d+|0x[0-9a-f]*)\.?")  # then a browser takes the host for IPv4


class Origin(NamedTuple):
    """An origin, with the scheme's default port filled in (RFC 6454, section 4)."""

    scheme: str
    host: str
    port: int | None


Origins = frozenset[Origin] | None
"""The allowed origins; None allows any. A host that begins with `"*."` stands for subdomains."""

SAME_HOST: frozenset[Origin] = frozenset()
"""Allows only pages from the host and port that the request was sent to."""

# Origins without a host, which browsers send for local files and sandboxed frames.
_HOSTLESS = {"null": Origin("null", "", None), "file://": Origin("file", "", None)}


def parse_origins(origins: str | Iterable[str] | None) -> Origins:
    """Parse the option `origins`: None, `"*"` or a list of `scheme://host[:port]`.

    The host may begin with `*.`. A list may also have `"null"` and `"file://"`.

    Raises:
        ValueError: An entry can never match the origin of a page, or there is none.
        TypeError: An entry is not a str.
    """
    if origins is None:
        return SAME_HOST
    if isinstance(origins, str):
        if origins == "*":
            return None
        raise ValueError(f"origins={origins!r}: use a list, [{origins!r}], or '*' for any")
    parsed = frozenset(_parse_pattern(text) for text in origins)
    if not parsed:
        raise ValueError("origins=[] allows no page: add some, or omit it for the same host")
    return parsed


def is_allowed(origins: list[str], host: str | None, allowed: Origins) -> bool:
    """Return whether a request with these `Origin` headers, sent to `host`, may be upgraded.

    Clients other than browsers send no `Origin`, and are always allowed.

    Examples:
        >>> is_allowed(["https://example.org"], "example.org", SAME_HOST)
        True
        >>> is_allowed(["https://example.org.evil"], "example.org", SAME_HOST)
        False
        >>> is_allowed(["https://a.example.org"], "x", parse_origins(["https://*.example.org"]))
        True
    """
    if not origins or allowed is None:
        return True
    origin = _parse(origins[0])
    if origin is None or len(origins) > 1:
        return False
    if allowed is not SAME_HOST:
        return origin in allowed or any(pattern in allowed for pattern in _patterns(origin))
    if host is None or not origin.host:
        return False
    # A TLS proxy forwards plain HTTP, so take the scheme, and its default port, from the Origin.
    target = _parse(f"{origin.scheme}://{host}")
    return target is not None and (origin.host, origin.port) == (target.host, target.port)


def _patterns(origin: Origin) -> Iterator[Origin]:
    """Yield the entries for subdomains that match an origin."""
    _, _, domain = origin.host.partition(".")
    while domain:
        yield origin._replace(host=f"*.{domain}")
        _, _, domain = domain.partition(".")


def _parse_pattern(text: str) -> Origin:
    """Parse an entry of the list."""
    if not isinstance(text, str):
        raise TypeError(f"origins has {text!r}: use a str, such as 'https://example.org'")
    hint = "use 'https://example.org', or with ':port', or with '*.' for all subdomains"
    if text == "*":
        hint = "use 'https://example.org', or origins='*' for any page"
    elif text.lower().startswith(("ws:", "wss:")):
        hint = f"a page has the scheme http or https, so use 'http{text[2:]}'"
    elif not text.isascii():
        hint = "use the ASCII form of the host, such as 'https://xn--bcher-kva.example'"
    else:
        scheme, wildcard, rest = text.partition("://*.")
        origin = _parse(f"{scheme}://{rest}" if wildcard else text)
        if origin is not None and not wildcard:
            return origin
        # An address has no subdomains.
        if origin is not None and origin.host and not _is_address(origin.host):
            return origin._replace(host=f"*.{origin.host}")
    raise ValueError(f"origins has {text!r}: {hint}")


def _parse(text: str) -> Origin | None:
    """Parse an origin as a browser sends it; return None if no browser sends it."""
    if (hostless := _HOSTLESS.get(text)) is not None:
        return hostless
    try:
        parts = urlsplit(text)
        host = _canonical_host(parts.hostname or "")
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not host or port == 0 or parts.netloc != text.partition("://")[2]:
        return None
    if "@" in parts.netloc or parts.netloc.endswith(":"):
        return None
    return Origin(parts.scheme, host, port if port is not None else _PORTS.get(parts.scheme))


def _canonical_host(host: str) -> str | None:
    """Return a host in the one form that we compare; None if a browser writes it otherwise."""
    if ":" in host:
        return None if "%" in host else ipaddress.IPv6Address(host).exploded
    if _NUMBER.fullmatch(host):
        return host if str(ipaddress.IPv4Address(host)) == host else None
    return host if _HOST.fullmatch(host) else None


def _is_address(host: str) -> bool:
    return ":" in host or _NUMBER.fullmatch(host) is not None
