"""Check what aiohttp does not check in an opening handshake, although RFC 6455 requires it."""

from __future__ import annotations

import re

from multidict import MultiMapping

__all__ = ["complete_answer", "may_deflate", "request_violation", "response_violation"]

_Headers = MultiMapping[str]

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


def request_violation(headers: _Headers) -> str | None:
    """Return how an upgrade request violates RFC 6455, section 4.2.1; None if it does not.

    aiohttp checks the key, too, but accepts some values that are not base64.
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
    if (extensions := headers.getall(_EXTENSIONS, [])) and not _parse_extensions(extensions):
        return f"{_EXTENSIONS} must be a list of 'name; parameter=value'"
    return None


def may_deflate(headers: _Headers) -> bool:
    """Return whether aiohttp may negotiate permessage-deflate for a request.

    A server must decline offers that violate RFC 7692, section 7.1. aiohttp accepts some of them.
    It also mistakes extensions whose names contain "permessage-deflate" for offers.

    Examples:
        >>> from multidict import CIMultiDict
        >>> may_deflate(CIMultiDict({"Sec-WebSocket-Extensions": "permessage-deflate"}))
        True
    """
    return all(
        name == _DEFLATE and _is_valid_deflate(parameters, offered=True)
        for name, parameters in _parse_extensions(headers.getall(_EXTENSIONS, [])) or ()
        if _DEFLATE in name
    )


def complete_answer(headers: _Headers, answer: str) -> str:
    """Return a server's answer to an offer of permessage-deflate, with the window's size.

    A server accepts an offer that limits its window by repeating the limit (RFC 7692, section
    7.1.2.1). aiohttp omits it if it is 15, the default. A server may state it for any offer.

    Args:
        headers: The headers of the request.
        answer: The extensions that aiohttp answers with.

    Examples:
        >>> from multidict import CIMultiDict
        >>> offer = "permessage-deflate; server_max_window_bits=15"
        >>> complete_answer(
        ...     CIMultiDict({"Sec-WebSocket-Extensions": offer}), "permessage-deflate"
        ... )
        'permessage-deflate; server_max_window_bits=15'
    """
    window = ("server_max_window_bits", "15")
    if window[0] not in answer and any(
        name == _DEFLATE and window in parameters
        for name, parameters in _parse_extensions(headers.getall(_EXTENSIONS, [])) or ()
    ):
        return f"{answer}; {'='.join(window)}"
    return answer


def response_violation(request: _Headers, response: _Headers) -> str | None:
    """Return why a client must reject a response with status 101; None if it is valid.

    These are the reasons of RFC 6455, section 4.1, that aiohttp does not check.
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
    if not (used := _parse_extensions(extensions)):
        return f"its {_EXTENSIONS} {', '.join(extensions)!r} cannot be parsed"
    offered = {name for name, _ in _parse_extensions(request.getall(_EXTENSIONS, [])) or ()}
    names = [name for name, _ in used]
    for name, parameters in used:
        if name not in offered:
            return f"it uses the extension {name!r}, which was not offered"
        if names.count(name) > 1:
            return f"it uses the extension {name!r} twice"
        if name == _DEFLATE and not _is_valid_deflate(parameters, offered=False):
            return f"it uses {', '.join(extensions)!r}, which violates RFC 7692"
    return None


def _elements(values: list[str]) -> list[str]:
    """Split a header's comma-separated lists, and skip empty elements (RFC 9110, section 5.6.1)."""
    return [text for value in values for part in value.split(",") if (text := part.strip(" \t"))]


def _parse_extensions(values: list[str]) -> list[tuple[str, _Parameters]] | None:
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


def _is_valid_deflate(parameters: _Parameters, *, offered: bool) -> bool:
    """Return whether these parameters of permessage-deflate are valid in an offer or a response."""

    def is_valid(name: str, value: str | None) -> bool:
        if name in _FLAGS:
            return value is None
        if offered and name == "client_max_window_bits" and value is None:
            return True  # RFC 7692, section 7.1.2.2: an offer may omit the value
        return name in _WINDOWS and value in _BITS

    unique = len(dict(parameters)) == len(parameters)
    return unique and all(is_valid(name, value) for name, value in parameters)
