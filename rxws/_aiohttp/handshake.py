"""Check the opening handshake as RFC 6455 requires, where aiohttp does not.

The functions read headers and return what is wrong as text for an error message.
"""

from __future__ import annotations

import re
from typing import Protocol

__all__ = ["Headers", "may_deflate", "request_violation", "response_violation"]


class Headers(Protocol):
    """Headers, each of which may occur more than once."""

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """Return all values of a header."""
        ...


_KEY, _ACCEPT = "Sec-WebSocket-Key", "Sec-WebSocket-Accept"
_PROTOCOL, _EXTENSIONS = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"

_DEFLATE = "permessage-deflate"
_FLAGS = {"server_no_context_takeover", "client_no_context_takeover"}
_WINDOWS = {"server_max_window_bits", "client_max_window_bits"}
_BITS = {str(bits) for bits in range(8, 16)}  # without leading zeros: RFC 7692, section 7.1.2

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, section 5.6.2
_PARAMETER = re.compile(rf'({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?')
_NONCE = re.compile(r"[A-Za-z0-9+/]{22}==")  # 16 bytes

_Parameters = list[tuple[str, str | None]]


def request_violation(headers: Headers) -> str | None:
    """Return how an upgrade request violates RFC 6455, section 4.2.1; None if it does not.

    aiohttp checks the rest. Its check of the key accepts some values that are not base64.

    Args:
        headers: The headers of the request.
    """
    keys = headers.getall(_KEY, [])
    if len(keys) != 1 or not _NONCE.fullmatch(keys[0]):
        return f"{_KEY} must occur once, with 16 bytes in base64"
    if protocols := headers.getall(_PROTOCOL, []):
        names = _elements(protocols)
        if not names or not all(re.fullmatch(_TOKEN, name) for name in names):
            return f"{_PROTOCOL} must be a list of names without spaces"
        if len(set(names)) != len(names):
            return f"{_PROTOCOL} names a subprotocol twice"
    if (extensions := headers.getall(_EXTENSIONS, [])) and not _parse(extensions):
        return f"{_EXTENSIONS} must be a list of 'name; parameter=value'"
    return None


def may_deflate(headers: Headers) -> bool:
    """Return whether aiohttp may negotiate permessage-deflate for a request.

    It must not accept an offer that RFC 7692, section 7.1, forbids. aiohttp accepts some of these,
    and mistakes extensions with similar names for offers.

    Args:
        headers: The headers of the request.

    Examples:
        >>> from multidict import CIMultiDict
        >>> may_deflate(CIMultiDict({"Sec-WebSocket-Extensions": "permessage-deflate"}))
        True
    """
    return all(
        name == _DEFLATE and _is_deflate(parameters, offered=True)
        for name, parameters in _parse(headers.getall(_EXTENSIONS, [])) or ()
        if _DEFLATE in name
    )


def response_violation(request: Headers, response: Headers) -> str | None:
    """Return why a client must reject a response with status 101; None if it need not.

    RFC 6455, section 4.1, lists the reasons. aiohttp checks the first few.

    Args:
        request: The headers of the request.
        response: The headers of the response.
    """
    if not all(value.isascii() for value in response.getall("Upgrade", [])):
        return "its Upgrade is not 'websocket'"
    if len(response.getall(_ACCEPT, [])) > 1:
        return f"it has more than one {_ACCEPT}"
    protocols = response.getall(_PROTOCOL, [])
    if len(protocols) > 1 or not set(protocols) <= {*_elements(request.getall(_PROTOCOL, []))}:
        chosen = ", ".join(protocols)
        return f"it chose the subprotocol {chosen!r}, which protocols= did not offer"
    if not (extensions := response.getall(_EXTENSIONS, [])):
        return None
    if not (used := _parse(extensions)):
        return f"its {_EXTENSIONS} {', '.join(extensions)!r} cannot be parsed"
    offered = {name for name, _ in _parse(request.getall(_EXTENSIONS, [])) or ()}
    names = [name for name, _ in used]
    for name, parameters in used:
        if name not in offered:
            return f"it uses the extension {name!r}, which was not offered"
        if names.count(name) > 1:
            return f"it uses the extension {name!r} twice"
        if name == _DEFLATE and not _is_deflate(parameters, offered=False):
            return f"it uses {', '.join(extensions)!r}, which violates RFC 7692"
    return None


def _elements(values: list[str]) -> list[str]:
    """Split a list header, and skip empty elements (RFC 9110, section 5.6.1)."""
    return [one for value in values for each in value.split(",") if (one := each.strip(" \t"))]


def _parse(values: list[str]) -> list[tuple[str, _Parameters]] | None:
    """Parse a list of extensions (RFC 6455, section 9.1); return None if it is malformed."""
    extensions: list[tuple[str, _Parameters]] = []
    for element in _elements(values):
        name, *rest = (part.strip(" \t") for part in element.split(";"))
        parameters: _Parameters = []
        for text in rest:
            match = _PARAMETER.fullmatch(text)
            if match is None:
                return None
            parameters.append((match[1], match[2] or match[3]))
        if not re.fullmatch(_TOKEN, name):
            return None
        extensions.append((name, parameters))
    return extensions


def _is_deflate(parameters: _Parameters, *, offered: bool) -> bool:
    """Return whether permessage-deflate may have these parameters, in an offer or a response."""

    def is_legal(name: str, value: str | None) -> bool:
        if name in _FLAGS:
            return value is None
        # An offer may leave the client's window open.
        is_open = value is None and offered and name == "client_max_window_bits"
        return is_open or (name in _WINDOWS and value in _BITS)

    unique = len(dict(parameters)) == len(parameters)
    return unique and all(is_legal(name, value) for name, value in parameters)
