"""Measure what `rxws.metrics` costs: per message, per connection, and per collection.

Run `python benchmarks/metrics_cost.py` from the root of the repository. The results are in
docs/quality/costs.md. For the instructions per message over a socket, run
`RXWS_METRICS=1 python benchmarks/profile_instructions.py --peers push`, with and without the
variable.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import NoOpTracerProvider
from yarl import URL

import rxws
from rxws._core import instrumentation
from rxws._core.connection import Handshake
from rxws._core.frames import Opcode
from rxws._session.handler import run_handler
from rxws._session.options import Options
from rxws._session.session import Session
from rxws.testing import Clock
from rxws.testing.fake_transport import FakeTransport

CONNECTIONS = 1000
MESSAGES = 20_000
ROUNDS = 15
HANDSHAKE = Handshake(URL("ws://peer.example/"), {})
OPTIONS = Options(heartbeat=None)


class Wire(FakeTransport):
    """A wire that takes everything at no cost."""

    def write(self, opcode: Opcode, payload: bytes) -> bool:
        return True


def echo() -> tuple[Session[Any, Any], Callable[[str | bytes, int], None]]:
    """Return a session that sends back what it gets, and the function that receives."""
    clock = Clock()
    wire = Wire(clock)
    with instrumentation.active.client("ws://peer.example/") as telemetry:
        session: Session[Any, Any] = Session(wire, clock, OPTIONS, HANDSHAKE, telemetry)
    run_handler(lambda conn: conn.incoming, session)
    wire.attach(session)
    return session, session.on_message


def per_message(message: str | bytes) -> float:
    """Return the microseconds of an echo, without the socket and aiohttp."""
    session, receive = echo()
    size = len(message)

    def round_() -> float:
        began = time.process_time()
        for _ in range(MESSAGES):
            receive(message, size)
        return (time.process_time() - began) / MESSAGES * 1e6

    result = median(round_() for _ in range(ROUNDS))
    assert session.is_open
    return result


def per_connection() -> tuple[float, float]:
    """Return the microseconds and the bytes that a connection takes from its handshake on."""
    echo()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = [echo() for _ in range(CONNECTIONS)]
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del kept

    def round_() -> float:
        began = time.process_time()
        kept = [echo() for _ in range(CONNECTIONS)]
        took = time.process_time() - began
        assert kept
        return took / CONNECTIONS * 1e6

    return median(round_() for _ in range(ROUNDS)), (after - before) / CONNECTIONS


def main() -> None:
    reader = InMemoryMetricReader()
    providers: dict[str, tuple[Any, Any]] = {
        "not installed": (None, None),
        "metrics": (MeterProvider([reader]), NoOpTracerProvider()),
        "metrics and spans": (MeterProvider([InMemoryMetricReader()]), TracerProvider()),
    }
    print("| | text message | binary message | connection | memory of a connection |")
    print("|---|---:|---:|---:|---:|")
    for title, (meters, tracers) in providers.items():
        reporting = None if meters is None else rxws.metrics.install(meters, tracers)
        text, binary = per_message("x" * 20), per_message(b"x" * 20)
        time_, memory = per_connection()
        print(f"| {title} | {text:.2f} µs | {binary:.2f} µs | {time_:.0f} µs | {memory:,.0f} B |")
        if tracers is providers["metrics"][1]:
            kept = [echo() for _ in range(CONNECTIONS)]
            rounds: list[float] = []
            for _ in range(ROUNDS):
                began = time.process_time()
                reader.get_metrics_data()
                rounds.append(time.process_time() - began)
            each = median(rounds) / CONNECTIONS * 1e6
            print(f"\na collection: {each:.1f} µs for each of {len(kept)} connections\n")
            del kept
        if reporting is not None:
            reporting.dispose()


if __name__ == "__main__":
    main()
