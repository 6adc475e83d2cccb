"""RFC 6455 and RFC 7692 as tables: what a peer may do, and what becomes of it.

Each case stands for one sentence of an RFC, and `test_rfc.py` tries it as a raw peer.
Its verdict is one of

- `OK`: allowed, and taken;
- `REFUSED`: forbidden, and refused, by rxws or by aiohttp below it;
- `TAKEN`: forbidden, and taken all the same, as only a frame parser of rxws's own could see it;
- `MISSED`: allowed, and refused or passed over all the same, for the like reason.

When aiohttp mends one of the last two, its test fails and says so. `page.py` writes the tables of
`docs/reference/conformance.md` from these.
"""

from __future__ import annotations

OK, REFUSED, TAKEN, MISSED = "taken", "refused", "**taken**", "**not taken**"

Pairs = list[tuple[str, str]]

UPGRADE, CONNECTION, HOST = "Upgrade", "Connection", "Host"
KEY, VERSION = "Sec-WebSocket-Key", "Sec-WebSocket-Version"
ACCEPT, PROTOCOL = "Sec-WebSocket-Accept", "Sec-WebSocket-Protocol"
EXTENSIONS = "Sec-WebSocket-Extensions"

NONCE = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3
DEFLATE = "permessage-deflate"


def changed(pairs: Pairs, changes: Pairs, without: tuple[str, ...]) -> Pairs:
    """Headers, with those of the same names as the changes replaced, and some left out."""
    gone = {name for name, _ in changes} | set(without)
    return [pair for pair in pairs if pair[0] not in gone] + changes


def head(line: str, pairs: Pairs) -> bytes:
    """A head as bytes; headers may come twice."""
    return "\r\n".join([line, *(f"{name}: {value}" for name, value in pairs), "", ""]).encode()
