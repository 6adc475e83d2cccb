"""The promises of rxws and their tests; `python scripts/promises.py` writes the page.

A test with the mark `@pytest.mark.promise("key")` proves the promise with that key. The page lists
the docstrings of these tests, and a test checks that the page is current.
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

# By subject and key.
PROMISES: dict[str, dict[str, str]] = {
    "How a connection ended": {
        "cut": "If a connection is lost without a close frame, `closed` reports 1006.",
        "verdict": "If nobody subscribes to `incoming`, `closed` reports a close at once, as long "
        "as at most `high_water` bytes of messages wait.",
        "clean": "A peer that closes with 1000, 1001 or without a code completes `incoming`.",
        "codes": "Any other close code fails `incoming`, with the code and the reason.",
        "ours": "If you close, `closed` emits your code, whether the peer answers or not.",
        "crossing": "If both sides close, `closed` reports the close that was sent or received "
        "first.",
        "once": "Each connection ends exactly once, and emits nothing afterwards.",
        "replay": "A `retry` or `repeat` after the end does not block the event loop.",
        "secrets": "The peer never sees the text of your exceptions.",
        "leaving": "Leaving an `async with` of a client closes the connection; nothing stays open.",
        "shutdown": "A shutdown closes all connections with 1001, within a time limit.",
    },
    "Messages": {
        "before-end": "Messages that arrive before the end are delivered; later ones are not.",
        "order": "Messages keep their order, also when they are sent from threads.",
        "queued": "A close is sent after all queued messages.",
        "counted": "No message is dropped silently: each is counted, by reason.",
        "first": "Within `hold_timeout`, no message is lost before the first subscription.",
        "pushed": "A value is sent as it was when you pushed it, even if you change it afterwards.",
        "timeout": "If you cancel `await conn.incoming.pipe(ops.first())`, or leave a loop, no "
        "message is lost.",
        "starve": "If a subscriber raises, the others still get every message.",
        "shared": "If a value from one peer cannot be encoded for others, their connections stay "
        "open, unless it has passed an operator that waits, such as `delay`.",
        "faults": "Without a subscriber to `errors`, an error closes the connection and is logged.",
    },
    "Chains and loops": {
        "scheduler": "Behind a stream of rxws, time operators use its loop without `scheduler=`.",
        "loop": "`async for` pauses the connection in its body, and raises the stream's error.",
        "rate": "No more values pass `rate_limit` in any period than its bucket allows.",
        "generator": "An async generator is not resumed while the peer is behind.",
        "cleanup": "At the end, the `finally` blocks of handlers run to their end, within a time "
        "limit.",
        "coroutine": "A coroutine that nobody awaits is an error or warning that names the remedy.",
    },
    "Limits": {
        "memory-in": "If a peer sends faster than you read, TCP slows it down above `high_water`.",
        "memory-out": "Unsent data for a peer that does not read is limited.",
        "kernel": "Data beyond `kernel_buffer` waits in rxws, where the `overflow` policy applies.",
        "small": "Many tiny messages are limited, too.",
        "size": "A message above `max_message_size` is refused, compressed or not.",
        "bomb": "A deflate bomb is refused before more than `max_message_size` is inflated.",
        "stuck": "A peer that reads nothing, or very slowly, is aborted after `send_timeout`.",
        "opening": "`open_timeout` covers the whole opening of a connection.",
        "idle": "An idle connection needs at most 6 KiB more memory than one of aiohttp.",
        "leaks": "A connection that has ended leaves no task, socket, timer or observer.",
        "freed": "A closed connection is freed at once, without a garbage collection.",
        "turns": "A burst of messages does not block the event loop for long.",
    },
    "Liveness": {
        "dead": "A dead peer is detected within 1.5 times the heartbeat.",
        "taking": "A peer that reads the data sent before a ping, however slowly, stays connected.",
        "pause": "Heartbeats do not close a connection while it is paused or its handler is busy.",
        "pings": "Below `high_water` waiting bytes, pings are answered; ping floods are harmless.",
    },
    "Reconnecting": {
        "jitter": "Clients that lose a server at the same time retry at different, random times.",
        "transient": "Temporary errors, such as a lost connection or a 503, are retried.",
        "hammer": "If a server closes immediately, a client tries at most 10 times in 10 s.",
        "final": "An error that is not retried ends the stream, with a note that says why.",
        "ticket": "Network errors of your own `url` and `headers` functions are retried, too.",
        "clean-retry": "`retryable` can make the client reconnect after a close with 1000, too.",
        "retry-after": "A client waits at least as long as the server asks with `Retry-After`.",
        "at-most-once": "No message is sent twice; unsent ones wait for the next connection.",
        "stale": "A message that expires, or is dropped from a full queue, is reported.",
        "greeting": "The messages of `opening` are sent before all queued messages.",
        "channel": "A channel subscribes once per connection, whatever its number of subscribers.",
        "sisters": "If a channel's subscriber raises, the socket and other channels keep running.",
        "look-up": "With `key`, finding a channel takes one look-up, however many channels exist.",
        "left": "Unsubscribing at any moment leaves nothing open, and you can subscribe again.",
        "status": "`status` only makes documented transitions, whatever fails.",
    },
    "Requests and answers": {
        "rpc-lost": "A call whose answer was lost fails, and says whether it may have run.",
        "rpc-cancelled": "A cancelled request is always answered, with -32800.",
        "rpc-mistakes": "Whatever a peer sends, it gets a valid answer or none, never a 1011.",
        "rpc-flood": "A peer that floods requests gets -32000; all others are served.",
        "rpc-slow": "A slow subscriber of a stream delays no other call of the connection.",
        "rpc-peers": "`rxws.rpc` works with other implementations of JSON-RPC.",
    },
    "Hubs": {
        "hub-order": "All subscribers of a topic, in all processes, get its messages in one order.",
        "hub-gaps": "Between two messages of a topic none is missing, or there is a `Gap`.",
        "hub-since": "A view emits nothing twice; `since` emits everything after a position, or a "
        "`Gap` first.",
        "hub-publish": "`publish` returns a position, or raises; the same id is published once.",
        "hub-restart": "Any restart or failover of Redis is a `Gap`, even if nothing was lost.",
        "hub-away": "While Redis is away, messages of topics that keep messages wait, and "
        "subscribers later get what they have missed, or a `Gap`.",
        "hub-presence": "A member that leaves disappears at once, and those of a dead process when "
        "its lease has ended.",
        "hub-rights": "A right that expires, or is revoked in any process, ends the subscription.",
        "hub-peers": "`hub.serve` works with the unmodified clients of Centrifugo.",
        "hub-resume": "A client whose connection is lost continues after its last message, or "
        "learns that some may be missing.",
        "hub-slow": "A subscriber that reads nothing delays no other one.",
        "hub-idle": "Connections that have ended leave no observer, topic, member or task.",
        "hub-client": "A topic of `rxws.hub.connect` continues after a lost connection. No "
        "position comes twice, and none is missing without a `Gap`.",
        "hub-hostile": "Whatever a client sends is answered, or closes with the protocol's codes.",
    },
    "Hostile peers": {
        "violation": "Data that violates RFC 6455 closes the connection with the right code.",
        "flood": "The close frame reaches a peer that sends without a pause.",
        "origin": "A web page of another origin is refused.",
        "fire": "Any bytes from a peer have a documented result, and bounded memory use.",
        "handshake": "Both ends refuse a handshake that RFC 6455 forbids.",
        "half-open": "Handshakes that are never completed do not affect other connections.",
        "garbage": "If a server does not speak WebSocket, `connect` raises a typed error.",
    },
    "Compatibility": {
        "same": "A handler behaves on a server as it does in virtual time.",
        "paths": "The push path and the pull path give the same results.",
        "independent": "rxws works with aiohttp, `websockets` and browsers.",
        "tls": "Connections over TLS behave in the same way.",
    },
    "Test tools and recordings": {
        "snapshots": "A recording keeps a value as it was, whatever you do to it afterwards.",
        "frames": "A saved session can be replayed with any codec, from its frames.",
        "real-time": "`simulate` raises an error that names an operator whose time is not virtual.",
        "equal": "Timelines compare arrays and tables by their elements; NaN equals NaN.",
    },
    "Diagrams and tables": {
        "watched": "Watching a stream does not change which messages are received or dropped.",
        "red": "In diagrams and tables, errors are red, and nothing else is.",
        "value": "If an operator raises, the view shows the operator, the value and the error.",
        "cell": "Output appears below its cell, and running a cell again stops its old output.",
        "runs-on": "A view leaves no task or timer running after you stop it or its stream ends.",
        "shown": "A notebook never executes received data that it shows.",
        "bounded": "However long a stream is, its diagram and its table stay small.",
        "large": "However large its values are, drawing them does not block the event loop.",
    },
}


class Proof(NamedTuple):
    """A test that proves a promise."""

    promise: str
    path: str
    test: str
    says: str


def proofs() -> Iterator[Proof]:
    """Find the tests with a mark."""
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
    """Return the page's text."""
    found: dict[str, list[Proof]] = {}
    for proof in proofs():
        found.setdefault(proof.promise, []).append(proof)
    lines = [
        "# Promises and their tests",
        "",
        "Each promise of rxws is proved by tests. Where it makes sense, they run against raw",
        "sockets and other WebSocket libraries, on the server and on the client, and on both",
        "[read paths](../howto/production.md#the-read-path), push and pull. `make test` runs them",
        "all. [Flow control](../concepts/flow.md#limits) explains the options that set limits,",
        "such as `high_water`.",
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
