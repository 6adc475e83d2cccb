"""What RFC 6455 asks of the opening handshake beyond what aiohttp sees to, as plain functions.

They read headers, and tell what is wrong in words for whoever has to mend it.
"""

from __future__ import annotations

import re
from typing import Protocol

__all__ = ["Headers", "answer_fault", "may_deflate", "request_fault"]


class Headers(Protocol):
    """Headers, each of which may come more than once."""

    def getall(self, key: str, default: list[str], /) -> list[str]:
        """Return all values of a header."""
        ...


_KEY, _ACCEPT = "Sec-WebSocket-Key", "Sec-WebSocket-Accept"
_PROTOCOL, _EXTENSIONS = "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions"

_DEFLATE = "permessage-deflate"
_FLAGS = {"server_no_context_takeover", "client_no_context_takeover"}
_BITS = {str(bits) for bits in range(8, 16)}  # without leading zeros: RFC 7692, section 7.1.2

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110, section 5.6.2
_PARAMETER = re.compile(rf'({_TOKEN})(?:[ \t]*=[ \t]*(?:({_TOKEN})|"({_TOKEN})"))?')
_NONCE = re.compile(r"[A-Za-z0-9+/]{22}==")  # 16 bytes

_Parameters = list[tuple[str, str | None]]


def request_fault(headers: Headers) -> str | None:
    """Tell what of an upgrade request is against RFC 6455, section 4.2.1; None if nothing.

    aiohttp sees to the rest; its check of the key lets pass what is no base64.

    Args:
        headers: The request's.
    """
    keys = headers.getall(_KEY, [])
    if len(keys) != 1 or not _NONCE.fullmatch(keys[0]):
        return f"{_KEY} has to be there once, with 16 bytes in base64"
    if protocols := headers.getall(_PROTOCOL, []):
        names = _elements(protocols)
        if not names or not all(re.fullmatch(_TOKEN, name) for name in names):
            return f"{_PROTOCOL} has to be a list of names without spaces"
        if len(set(names)) != len(names):
            return f"{_PROTOCOL} names a subprotocol twice"
    if (extensions := headers.getall(_EXTENSIONS, [])) and not _parse(extensions):
        return f"{_EXTENSIONS} has to be a list of 'name; parameter=value'"
    return None


def may_deflate(headers: Headers) -> bool:
    """Tell whether what a request says of permessage-deflate is an offer to take up.

    An offer that RFC 7692, section 7.1, forbids has to be declined. aiohttp takes some of them, and
    takes extensions of similar names for offers.

    Args:
        headers: The request's.

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


def answer_fault(request: Headers, answer: Headers) -> str | None:
    """Tell what of an answer with 101 a client must not take; None if nothing.

    RFC 6455, section 4.1, has the list; aiohttp checks its first points.

    Args:
        request: The headers of the request.
        answer: Those of the answer.
    """
    if not all(value.isascii() for value in answer.getall("Upgrade", [])):
        return "its Upgrade is not 'websocket'"
    if len(answer.getall(_ACCEPT, [])) > 1:
        return f"it has more than one {_ACCEPT}"
    protocols = answer.getall(_PROTOCOL, [])
    if len(protocols) > 1 or not set(protocols) <= {*_elements(request.getall(_PROTOCOL, []))}:
        chosen = ", ".join(protocols)
        return f"it chose the subprotocol {chosen!r}, which protocols= does not offer"
    if not (extensions := answer.getall(_EXTENSIONS, [])):
        return None
    if not (used := _parse(extensions)):
        return f"its {_EXTENSIONS} {', '.join(extensions)!r} cannot be read"
    offered = {name for name, _ in _parse(request.getall(_EXTENSIONS, [])) or ()}
    names = [name for name, _ in used]
    for name, parameters in used:
        if name not in offered:
            return f"it uses the extension {name!r}, which was not offered"
        if names.count(name) > 1:
            return f"it uses the extension {name!r} twice"
        if name == _DEFLATE and not _is_deflate(parameters, offered=False):
            return f"it uses {', '.join(extensions)!r}, against RFC 7692"
    return None


def _elements(values: list[str]) -> list[str]:
    """Split a header's list; it may have empty elements (RFC 9110, section 5.6.1)."""
    return [one for value in values for each in value.split(",") if (one := each.strip(" \t"))]


def _parse(values: list[str]) -> list[tuple[str, _Parameters]] | None:
    """Read a list of extensions (RFC 6455, section 9.1); None where it is none."""
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
    """Tell whether permessage-deflate may have these, in an offer or else in its answer."""
    if len(dict(parameters)) != len(parameters):
        return False
    for name, value in parameters:
        if name in _FLAGS:
            legal = value is None
        elif name == "server_max_window_bits":
            legal = value in _BITS
        elif name == "client_max_window_bits":
            legal = value in _BITS or (offered and value is None)
        else:
            legal = False
        if not legal:
            return False
    return True
