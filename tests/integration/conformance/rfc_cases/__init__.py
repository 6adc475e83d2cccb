"""RFC 6455 and RFC 7692 as tables: what a peer sends, and how rxws must respond.

Each case stands for one rule of an RFC, and `test_rfc.py` tries it as a raw peer. Its verdict is

- `OK`: allowed and accepted;
- `REFUSED`: forbidden and refused, by rxws or by aiohttp below it;
- `TAKEN`: forbidden but accepted, since only a frame parser of our own could detect it;
- `MISSED`: allowed but refused or ignored, for the same reason.

If a newer aiohttp handles one of the last two, its test fails. `page.py` writes the tables of
`docs/reference/conformance.md` from these cases.
"""

from __future__ import annotations

OK, REFUSED, TAKEN, MISSED = "accepted", "refused", "**accepted**", "**not accepted**"

Pairs = list[tuple[str, str]]

UPGRADE, CONNECTION, HOST = "Upgrade", "Connection", "Host"
KEY, VERSION = "Sec-WebSocket-Key", "Sec-WebSocket-Version"
ACCEPT, PROTOCOL = "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"
EXTENSIONS = "Sec-WebSocket-Extensions"

NONCE = "dGhlIHNhbXBsZSBub25jZQ=="  # the example of RFC 6455, section 1.3
DEFLATE = "permessage-deflate"


def changed(pairs: Pairs, changes: Pairs, without: tuple[str, ...]) -> Pairs:
    """Return the headers with those of `changes` replaced and those named in `without` removed."""
    gone = {name for name, _ in changes} | set(without)
    return [pair for pair in pairs if pair[0] not in gone] + changes


def head(line: str, pairs: Pairs) -> bytes:
    """Encode a request or response head; a header may appear twice."""
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in pairs), "", ""]).encode()
