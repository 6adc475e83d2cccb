"""What rxws promises, and the tests that prove it: `python scripts/promises.py` writes the page.

A test says with `@pytest.mark.promise("key")` that it proves one of these. The page is made of what
the tests say, and a test compares it, so that it cannot go stale.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["PAGE", "PROMISES", "Proof", "page", "proofs"]

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
PAGE = ROOT / "docs" / "quality" / "promises.md"

# By subject; the key is what a test's mark says.
PROMISES: dict[str, dict[str, str]] = {
    "How a connection ended": {
        "cut": "A cut is never a clean end: TCP that ends without a close frame is a 1006.",
        "clean": "A peer that closes with 1000, 1001 or no code completes `incoming`.",
        "codes": "Every other close code fails `incoming`, and is told with its reason.",
        "ours": "The code that we close with is the one that is told, answered or not.",
        "crossing": "Of two closes that cross, the one that had left first counts.",
        "once": "There is one verdict, told once, and nothing follows it.",
        "secrets": "A peer never learns what an exception of yours says.",
        "leaving": "Leaving `async with connect(...)` closes, and leaves nothing open.",
        "shutdown": "An application that ends tells every peer 1001, and is gone in time.",
    },
    "Messages": {
        "before-end": "What came before an end is told before it; what comes after is not told.",
        "order": "Messages keep their order, from threads as well.",
        "queued": "A close follows all that is queued.",
        "counted": "No message is lost silently: one that is dropped is counted, with the reason.",
        "first": "Nothing is lost before the first subscriber: reading waits for it.",
        "starve": "A subscriber that raises starves no other.",
        "faults": "A fault that nobody observes ends the connection, and is logged once.",
    },
    "Bounds": {
        "memory-in": "A peer that sends faster than you take is held back by TCP.",
        "memory-out": "What waits for a peer that does not read is bounded.",
        "small": "Tiny messages are bounded, too.",
        "size": "No message above `max_message_size` is accepted, compressed or not.",
        "bomb": "A deflate bomb is refused before it is inflated.",
        "stuck": "A peer that takes nothing, or trickles, is gone after `send_timeout`.",
        "opening": "`open_timeout` holds for the whole opening of a connection.",
        "idle": "An idle connection costs at most 6 KiB more than one of aiohttp's.",
        "leaks": "A connection that is over leaves no task, socket, timer or observer.",
        "turns": "A burst does not hold the event loop: others get their turns.",
    },
    "Liveness": {
        "dead": "A dead peer is found within 1.5 times the heartbeat.",
        "pause": "A peer that is paused, or busy, is not taken for dead.",
        "pings": "Pings are answered; a flood of them makes nothing grow.",
    },
    "The client that comes back": {
        "jitter": "Clients cut off at once come back spread over all of the wait, at the cap too.",
        "hammer": "A server that accepts and closes at once is dialled at most 10 times in 10 s.",
        "final": "What is final ends with a typed error that says why; all else is dialled again.",
        "retry-after": "A server that asks by `Retry-After` to be left alone is.",
        "at-most-once": "Nothing is sent twice; what had not left goes with the next, in order.",
        "stale": "What waited too long, or has no room, is never sent, but counted and told.",
        "greeting": "What is to be sent first on each new connection is, ahead of what waits.",
        "channel": "However many subscribe a channel, the server is asked once on each connection.",
        "sisters": "What raises in one channel leaves the socket and the other channels alone.",
        "look-up": "A frame finds its channels by one look-up, however many channels there are.",
        "left": "Left at any moment nothing stays open, and it can be subscribed again.",
        "status": "`status` never lies: over any faults it is a walk of the documented states.",
    },
    "Peers that are not friendly": {
        "violation": "What RFC 6455 forbids is answered with its code, and ends the connection.",
        "flood": "The close frame reaches a peer that floods.",
        "origin": "A web page of another origin is refused.",
        "fire": "Whatever bytes come, what comes of them is documented, and memory stays flat.",
        "handshake": "What RFC 6455 forbids in a handshake is refused, by either end.",
        "half-open": "A handshake that is never finished harms nobody.",
        "garbage": "A server that is no WebSocket server is a typed error that says what it said.",
    },
    "Both ends, both paths": {
        "same": "What passes in virtual time passes on a server.",
        "paths": "The push path and the fallback tell the same.",
        "independent": "It talks with aiohttp, `websockets` and browsers.",
        "tls": "It is the same over TLS.",
    },
    "Seeing it": {
        "watched": "Watching changes nothing that is watched: no message more, none less.",
        "red": "Red is an error, and nothing else is red.",
        "value": "An error in a step is shown with the step, and the value that caused it.",
        "cell": "What a cell shows is under that cell; run again, it stops what it had begun.",
        "runs-on": "What is stopped, or over, leaves nothing running.",
        "shown": "Nothing that came over the wire is executed where it is shown.",
        "bounded": "However long a flow is, its picture and its table stay small.",
    },
}


class Proof(NamedTuple):
    """A test that proves a promise."""

    promise: str
    path: str
    test: str
    says: str


def proofs() -> Iterator[Proof]:
    """Find what the tests say that they prove."""
    for path in sorted(TESTS.rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for key in _marks(node):
                says = (ast.get_docstring(node) or "").partition("\n\n")[0].replace("\n", " ")
                yield Proof(key, path.relative_to(TESTS).as_posix(), node.name, says)


def _marks(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for decorator in test.decorator_list:
        match decorator:
            case ast.Call(
                func=ast.Attribute(attr="promise"), args=[ast.Constant(value=str(key)), *_]
            ):
                yield key
            case _:
                pass


def page() -> str:
    """Write the page."""
    found: dict[str, list[Proof]] = {}
    for proof in proofs():
        found.setdefault(proof.promise, []).append(proof)
    lines = [
        "# Promises, and their proofs",
        "",
        "Each promise of rxws has tests that prove it; this page is made of them. The tests run",
        "against raw sockets and independent peers, at both ends, on both ways in, as far as the",
        "subject has them. `make test` runs them all.",
    ]
    for subject, promises in PROMISES.items():
        lines += ["", f"## {subject}"]
        for key, promise in promises.items():
            lines += ["", f"**{promise}**", ""]
            lines += [
                f"- `{proof.path}`, `{proof.test}`: {proof.says}" for proof in found.get(key, [])
            ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
