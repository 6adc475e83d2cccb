"""The opening handshake, at a server (RFC 6455, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass

from integration.conformance.rfc_cases import (
    CONNECTION,
    DEFLATE,
    EXTENSIONS,
    HOST,
    KEY,
    MISSED,
    NONCE,
    OK,
    PROTOCOL,
    REFUSED,
    UPGRADE,
    VERSION,
    changed,
    head,
)


@dataclass(frozen=True)
class Request:
    """A handshake request, as changes to a valid one, and the expected response.

    The server supports the subprotocols "chat" and "superchat", and permessage-deflate.

    Args:
        what: The description in the documentation.
        section: The section with the rule, prefixed with "7692 " if it is not of RFC 6455.
        verdict: One of the verdicts of `rfc_cases`.
        status: The status of the response.
        headers: Headers that replace the valid ones; one may appear twice.
        without: Names of headers to remove.
        line: The request line.
        protocol: The subprotocol in the response, or None.
        extensions: The extensions in the response, or None.
    """

    what: str
    section: str
    verdict: str
    status: int
    headers: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    line: str = "GET / HTTP/1.1"
    protocol: str | None = None
    extensions: str | None = None

    def written(self, port: int) -> bytes:
        """Return the bytes of the request."""
        right = [
            (HOST, f"127.0.0.1:{port}"),
            (UPGRADE, "websocket"),
            (CONNECTION, "Upgrade"),
            (KEY, NONCE),
            (VERSION, "13"),
        ]
        return head(self.line, changed(right, list(self.headers), self.without))


def _key(what: str, *keys: str) -> Request:
    return Request(what, "4.2.1", REFUSED, 400, tuple((KEY, key) for key in keys))


def _offer(
    what: str,
    verdict: str,
    offer: str,
    extensions: str | None = None,
    *,
    status: int = 101,
    section: str = "7692 7.1",
) -> Request:
    headers = ((EXTENSIONS, offer),)
    return Request(what, section, verdict, status, headers, extensions=extensions)


REQUESTS = [
    Request("a valid request", "4.1", OK, 101),
    Request("`POST` instead of `GET`", "4.1", REFUSED, 405, line="POST / HTTP/1.1"),
    Request("`HEAD` instead of `GET`", "4.1", REFUSED, 405, line="HEAD / HTTP/1.1"),
    Request("HTTP/1.0", "4.1", REFUSED, 426, line="GET / HTTP/1.0"),
    Request("no `Host`", "4.2.1", REFUSED, 400, without=(HOST,)),
    Request(
        "two `Host` headers", "4.2.1", REFUSED, 400, ((HOST, "a.example"), (HOST, "b.example"))
    ),
    Request("no `Upgrade`", "4.2.1", REFUSED, 426, without=(UPGRADE,)),
    Request("`Upgrade: h2c`", "4.2.1", REFUSED, 426, ((UPGRADE, "h2c"),)),
    Request("`Upgrade: WebSocket`", "4.2.1", OK, 101, ((UPGRADE, "WebSocket"),)),
    Request(
        "`Upgrade` with a Kelvin sign instead of the k",
        "4.2.1",
        REFUSED,
        426,
        ((UPGRADE, "websoc\u212aet"),),
    ),
    Request("no `Connection`", "4.2.1", REFUSED, 400, without=(CONNECTION,)),
    Request("`Connection: keep-alive`", "4.2.1", REFUSED, 400, ((CONNECTION, "keep-alive"),)),
    Request(
        "`Connection: keep-alive, upgrade`",
        "4.2.1",
        OK,
        101,
        ((CONNECTION, "keep-alive, upgrade"),),
    ),
    Request("`Connection: upgraded`", "4.2.1", REFUSED, 400, ((CONNECTION, "upgraded"),)),
    Request("no `Sec-WebSocket-Key`", "4.2.1", REFUSED, 400, without=(KEY,)),
    _key("an empty key", ""),
    _key("a key of 15 bytes", "AAAAAAAAAAAAAAAAAAAA"),
    _key("a key of 17 bytes", "AAAAAAAAAAAAAAAAAAAAAAA="),
    _key("a key that is not base64", "dGhl*HNhbXBsZSBub25jZQ=="),
    _key("a key with a space in it", "dGhlIHNh bXBsZSBub25jZQ=="),
    _key("a key with trailing characters", NONCE + "x"),
    _key("two keys", NONCE, "AAAAAAAAAAAAAAAAAAAAAA=="),
    Request("no `Sec-WebSocket-Version`", "4.2.1", REFUSED, 426, without=(VERSION,)),
    Request("version 8", "4.4", REFUSED, 426, ((VERSION, "8"),)),
    Request("version 14", "4.4", REFUSED, 426, ((VERSION, "14"),)),
    Request("version 013", "4.1", REFUSED, 426, ((VERSION, "013"),)),
    Request("version 13, 8", "4.1", REFUSED, 426, ((VERSION, "13, 8"),)),
    Request("two version headers", "11.3.5", REFUSED, 426, ((VERSION, "13"), (VERSION, "8"))),
    Request(
        "subprotocols of which the second is supported",
        "4.2.2",
        OK,
        101,
        ((PROTOCOL, "soap, superchat"),),
        protocol="superchat",
    ),
    Request(
        "two supported subprotocols: the client's first is chosen",
        "4.1",
        OK,
        101,
        ((PROTOCOL, "superchat, chat"),),
        protocol="superchat",
    ),
    Request("no supported subprotocol", "4.2.2", OK, 101, ((PROTOCOL, "soap"),)),
    Request(
        "a supported subprotocol in another case: ignored", "4.2.2", OK, 101, ((PROTOCOL, "Chat"),)
    ),
    Request(
        "a supported subprotocol in a second header",
        "11.3.4",
        MISSED,
        101,
        ((PROTOCOL, "soap"), (PROTOCOL, "chat")),
    ),
    Request("an empty list of subprotocols", "4.3", REFUSED, 400, ((PROTOCOL, ""),)),
    Request("a subprotocol that is not a token", "4.3", REFUSED, 400, ((PROTOCOL, "chat, a b"),)),
    Request("a subprotocol twice", "4.1", REFUSED, 400, ((PROTOCOL, "chat, chat"),)),
    Request(
        "a subprotocol twice, in two headers",
        "4.1",
        REFUSED,
        400,
        ((PROTOCOL, "chat"), (PROTOCOL, "chat")),
    ),
    _offer("an unknown extension: ignored", OK, "x-unheard; of=1", section="9.1"),
    _offer(
        "an extension header with a syntax error", REFUSED, "foo; =1", status=400, section="9.1"
    ),
    _offer("an empty list of extensions", REFUSED, "", status=400, section="9.1"),
    _offer("`permessage-deflate`", OK, DEFLATE, DEFLATE),
    _offer("`x-permessage-deflate`: ignored", OK, "x-permessage-deflate", section="9.1"),
    _offer("`permessage-deflate2`: ignored", OK, "permessage-deflate2", section="9.1"),
    _offer(
        "`server_no_context_takeover`",
        OK,
        f"{DEFLATE}; server_no_context_takeover",
        f"{DEFLATE}; server_no_context_takeover",
        section="7692 7.1.1.1",
    ),
    _offer(
        "`client_no_context_takeover`",
        OK,
        f"{DEFLATE}; client_no_context_takeover",
        DEFLATE,
        section="7692 7.1.1.2",
    ),
    _offer(
        "`server_max_window_bits=10`",
        OK,
        f"{DEFLATE}; server_max_window_bits=10",
        f"{DEFLATE}; server_max_window_bits=10",
        section="7692 7.1.2.1",
    ),
    _offer(
        "`server_max_window_bits=15`",
        OK,
        f"{DEFLATE}; server_max_window_bits=15",
        f"{DEFLATE}; server_max_window_bits=15",
        section="7692 7.1.2.1",
    ),
    _offer(
        "`server_max_window_bits=8`: declined",
        REFUSED,
        f"{DEFLATE}; server_max_window_bits=8",
        section="7692 7.1.2.1",
    ),
    _offer(
        "`client_max_window_bits=9`",
        OK,
        f"{DEFLATE}; client_max_window_bits=9",
        DEFLATE,
        section="7692 7.1.2.2",
    ),
    *(
        _offer(f"`{parameter}`: declined", REFUSED, f"{DEFLATE}; {parameter}", section=section)
        for section, parameter in [
            ("7692 7.1.1.1", "server_no_context_takeover=1"),
            ("7692 7.1.1.2", "client_no_context_takeover=1"),
            ("7692 7.1.2.1", "server_max_window_bits"),
            ("7692 7.1.2.1", "server_max_window_bits=7"),
            ("7692 7.1.2.1", "server_max_window_bits=16"),
            ("7692 7.1.2.1", "server_max_window_bits=010"),
            ("7692 7.1.2.2", "client_max_window_bits=7"),
            ("7692 7.1.2.2", "client_max_window_bits=16"),
            ("7692 7.1.2.2", "client_max_window_bits=x"),
            ("7692 7.1", "server_max_window_bits=10; server_max_window_bits=10"),
            ("7692 7.1", "unheard"),
        ]
    ),
    _offer(
        "a declined offer and an accepted one",
        OK,
        f"{DEFLATE}; server_max_window_bits=8, {DEFLATE}",
        DEFLATE,
        section="7692 5",
    ),
]
