"""The opening handshake, at a client (RFC 6455, section 4.1)."""

from __future__ import annotations

from dataclasses import dataclass

from integration.conformance.rfc_cases import (
    ACCEPT,
    CONNECTION,
    DEFLATE,
    EXTENSIONS,
    MISSED,
    OK,
    PROTOCOL,
    REFUSED,
    UPGRADE,
    changed,
    head,
)


@dataclass(frozen=True)
class Answer:
    """A handshake response, as changes to a valid one.

    The client offers the subprotocols "chat" and "superchat", and permessage-deflate.

    Args:
        what: The description in the documentation.
        section: The section with the rule.
        verdict: One of the verdicts of `rfc_cases`.
        headers: Headers that replace the valid ones; `{accept}` stands for the valid accept key.
        without: Names of headers to remove.
        line: The status line.
        protocol: The subprotocol of the connection.
        offers: Whether the client offers anything.
    """

    what: str
    section: str
    verdict: str
    headers: tuple[tuple[str, str], ...] = ()
    without: tuple[str, ...] = ()
    line: str = "HTTP/1.1 101 Switching Protocols"
    protocol: str | None = None
    offers: bool = True

    def written(self, accept: str) -> bytes:
        """Return the bytes of the response."""
        right = [(UPGRADE, "websocket"), (CONNECTION, "Upgrade"), (ACCEPT, accept)]
        headers = [(name, value.replace("{accept}", accept)) for name, value in self.headers]
        return head(self.line, changed(right, headers, self.without))


def _chosen(
    what: str, verdict: str, *values: str, section: str = "4.1", offers: bool = True
) -> Answer:
    return Answer(
        what, section, verdict, tuple((EXTENSIONS, each) for each in values), offers=offers
    )


ANSWERS = [
    Answer("a valid response", "4.2.2", OK),
    Answer("status 200", "4.1", REFUSED, line="HTTP/1.1 200 OK"),
    Answer("no `Upgrade`", "4.1", REFUSED, without=(UPGRADE,)),
    Answer("`Upgrade: h2c`", "4.1", REFUSED, ((UPGRADE, "h2c"),)),
    Answer("`Upgrade: WebSocket`", "4.1", OK, ((UPGRADE, "WebSocket"),)),
    Answer(
        "`Upgrade` with a Kelvin sign instead of the k",
        "4.1",
        REFUSED,
        ((UPGRADE, "websoc\u212aet"),),
    ),
    Answer("no `Connection`", "4.1", REFUSED, without=(CONNECTION,)),
    Answer("`Connection: close`", "4.1", REFUSED, ((CONNECTION, "close"),)),
    Answer("`Connection: upgrade`", "4.1", OK, ((CONNECTION, "upgrade"),)),
    Answer(
        "`Connection: keep-alive, Upgrade`", "4.1", MISSED, ((CONNECTION, "keep-alive, Upgrade"),)
    ),
    Answer("no `Sec-WebSocket-Accept`", "4.1", REFUSED, without=(ACCEPT,)),
    Answer("a wrong accept key", "4.1", REFUSED, ((ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),)),
    Answer("the accept key with spaces around it", "4.1", OK, ((ACCEPT, " {accept} "),)),
    Answer(
        "two accept keys, the first of which is valid",
        "11.3.3",
        REFUSED,
        ((ACCEPT, "{accept}"), (ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")),
    ),
    Answer(
        "a subprotocol that was offered",
        "4.1",
        OK,
        ((PROTOCOL, "superchat"),),
        protocol="superchat",
    ),
    Answer("a subprotocol that was not offered", "4.1", REFUSED, ((PROTOCOL, "soap"),)),
    Answer("an offered subprotocol in another case", "4.1", REFUSED, ((PROTOCOL, "Chat"),)),
    Answer(
        "a subprotocol although none was offered",
        "4.1",
        REFUSED,
        ((PROTOCOL, "chat"),),
        offers=False,
    ),
    Answer("an empty subprotocol", "4.2.2", REFUSED, ((PROTOCOL, ""),)),
    Answer("two subprotocols", "4.2.2", REFUSED, ((PROTOCOL, "chat, superchat"),)),
    Answer(
        "two subprotocol headers",
        "11.3.4",
        REFUSED,
        ((PROTOCOL, "chat"), (PROTOCOL, "chat")),
    ),
    _chosen("an extension that was not offered", REFUSED, "x-unheard"),
    _chosen("an offered extension and another one", REFUSED, f"{DEFLATE}, x-unheard"),
    _chosen("an extension although none was offered", REFUSED, DEFLATE, offers=False),
    _chosen("`x-permessage-deflate`", REFUSED, "x-permessage-deflate"),
    _chosen("an extension header with a syntax error", REFUSED, f"{DEFLATE};", section="9.1"),
    _chosen("an empty list of extensions", REFUSED, "", section="9.1"),
    _chosen("`permessage-deflate`", OK, DEFLATE, section="7692 7.1"),
    _chosen("`permessage-deflate` twice", REFUSED, f"{DEFLATE}, {DEFLATE}", section="7692 5"),
    _chosen("`permessage-deflate` in two headers", REFUSED, DEFLATE, DEFLATE, section="7692 5"),
    *(
        _chosen(f"`{parameter}`", verdict, f"{DEFLATE}; {parameter}", section=f"7692 {section}")
        for section, verdict, parameter in [
            ("7.1.1.1", OK, "server_no_context_takeover"),
            ("7.1.1.1", REFUSED, "server_no_context_takeover=1"),
            ("7.1.1.2", OK, "client_no_context_takeover"),
            ("7.1.1.2", REFUSED, "client_no_context_takeover=0"),
            ("7.1.2.1", OK, "server_max_window_bits=8"),
            ("7.1.2.1", OK, "server_max_window_bits=15"),
            ("7.1.2.1", REFUSED, "server_max_window_bits"),
            ("7.1.2.1", REFUSED, "server_max_window_bits=7"),
            ("7.1.2.1", REFUSED, "server_max_window_bits=16"),
            ("7.1.2.1", REFUSED, "server_max_window_bits=09"),
            ("7.1.2.2", OK, "client_max_window_bits=9"),
            ("7.1.2.2", MISSED, "client_max_window_bits=8"),
            ("7.1.2.2", REFUSED, "client_max_window_bits"),
            ("7.1.2.2", REFUSED, "client_max_window_bits=7"),
            ("7.1.2.2", REFUSED, "client_max_window_bits=16"),
            ("7.1", REFUSED, "server_max_window_bits=9; server_max_window_bits=9"),
            ("7.1", REFUSED, "unheard"),
        ]
    ),
]
