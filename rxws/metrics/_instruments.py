"""The metrics: their names, units and attributes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from ._connection import Attributes, Labels
from ._figures import Figures, Traffic

__all__ = ["CLIENT_STATES", "HUB_STATS", "Instruments", "Snapshot"]

# Seconds. A round trip or a connection may take microseconds or days.
_LATENCIES = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]
_DURATIONS = [0.1, 1, 5, 10, 30, 60, 300, 900, 3600, 4 * 3600, 24 * 3600]

_MAX_AGE = 1.0  # seconds for which all metrics of one collection may share a snapshot

CLIENT_STATES = ("connecting", "open", "waiting")
"""The states of a reconnecting client that count; one that has ended is in none."""


@dataclass(slots=True)
class Snapshot:
    """The figures that were read at one moment.

    Args:
        connections: The counts by the attributes that they share.
        clients: The number of reconnecting clients by state; None if there was never one.
        hubs: The number of hubs by state; None if there was never one.
        hub_stats: The sums of their `HubStats`, but the longest `lag`.
        gaps: Their gaps by reason.
    """

    connections: Mapping[Labels, Figures]
    clients: Mapping[str, int] | None
    hubs: Mapping[str, int] | None
    hub_stats: Mapping[str, float]
    gaps: Mapping[str, int]


_Values: TypeAlias = Iterable[tuple[float, Attributes]]
_Kind: TypeAlias = Literal["counter", "up_down_counter", "gauge"]


class _Metric(NamedTuple):
    """A metric that is read when the metrics are collected."""

    name: str
    kind: _Kind
    unit: str
    description: str
    read: Callable[[Snapshot], _Values]


def _each(read: Callable[[Figures], _Values]) -> Callable[[Snapshot], _Values]:
    """Read a metric of connections."""

    def values(snapshot: Snapshot) -> _Values:
        for labels, figures in snapshot.connections.items():
            for value, attributes in read(figures):
                yield value, {**dict(labels), **attributes}

    return values


def _traffic(value: Callable[[Traffic], int]) -> Callable[[Snapshot], _Values]:
    def values(figures: Figures) -> _Values:
        for direction, kind, traffic in (
            ("receive", "text", figures.received_text),
            ("receive", "binary", figures.received_binary),
            ("transmit", "text", figures.sent_text),
            ("transmit", "binary", figures.sent_binary),
        ):
            yield value(traffic), {"network.io.direction": direction, "rxws.message.type": kind}

    return _each(values)


def _by(attribute: str, counts: Mapping[str, float] | None, names: Iterable[str] = ()) -> _Values:
    """Return a value for each name; none if there are no counts."""
    if counts is not None:
        for name in {**dict.fromkeys(names, 0), **counts}:
            yield counts.get(name, 0), {attribute: name}


def _clients(snapshot: Snapshot) -> _Values:
    return _by("rxws.reconnect.state", snapshot.clients, CLIENT_STATES)


def _hubs(snapshot: Snapshot) -> _Values:
    return _by("rxws.hub.state", snapshot.hubs, ("connected", "away"))


def _gaps(snapshot: Snapshot) -> _Values:
    return _by("rxws.hub.gap.reason", snapshot.gaps)


def _hub_stat(name: str) -> Callable[[Snapshot], _Values]:
    return lambda snapshot: [(snapshot.hub_stats[name], {})] if snapshot.hub_stats else []


HUB_STATS: Mapping[str, tuple[str, _Kind, str, str]] = {
    "published": (
        "rxws.hub.published_messages",
        "counter",
        "{message}",
        "Messages handed to the backplane.",
    ),
    "confirmed": (
        "rxws.hub.confirmed_messages",
        "counter",
        "{message}",
        "Messages that were published for certain.",
    ),
    "unconfirmed": (
        "rxws.hub.unconfirmed_messages",
        "counter",
        "{message}",
        "Messages of which it is not known whether they were published.",
    ),
    "refused": (
        "rxws.hub.refused_messages",
        "counter",
        "{message}",
        "Messages that the backplane has refused.",
    ),
    "dropped": (
        "rxws.hub.dropped_messages",
        "counter",
        "{message}",
        "Messages that never reached the backplane.",
    ),
    "received": (
        "rxws.hub.received_messages",
        "counter",
        "{message}",
        "Messages delivered to the subscribers of a topic.",
    ),
    "healed": (
        "rxws.hub.healed_messages",
        "counter",
        "{message}",
        "Received messages that were missed first.",
    ),
    "reconnects": (
        "rxws.hub.reconnects",
        "counter",
        "{reconnect}",
        "How often the backplane has come back.",
    ),
    "queued": (
        "rxws.hub.queued_messages",
        "up_down_counter",
        "{message}",
        "Messages that wait to be published.",
    ),
    "topics": (
        "rxws.hub.topics",
        "up_down_counter",
        "{topic}",
        "Topics that this process receives.",
    ),
    "members": (
        "rxws.hub.members",
        "up_down_counter",
        "{member}",
        "Members of this process in all topics.",
    ),
    "lag": (
        "rxws.hub.lag",
        "gauge",
        "s",
        "For how long the oldest unconfirmed message has been waiting.",
    ),
}
"""The metric of each field of `HubStats` that is a number: name, kind, unit and description."""

_METRICS = (
    _Metric(
        "rxws.active_connections",
        "up_down_counter",
        "{connection}",
        "Open connections.",
        _each(lambda figures: [(figures.open, {})]),
    ),
    _Metric(
        "rxws.messages",
        "counter",
        "{message}",
        "Messages received, and handed to the socket.",
        _traffic(lambda traffic: traffic.messages),
    ),
    _Metric(
        "rxws.io",
        "counter",
        "By",
        "Bytes of the payloads of these messages.",
        _traffic(lambda traffic: traffic.bytes),
    ),
    _Metric(
        "rxws.dropped_messages",
        "counter",
        "{message}",
        "Messages that were dropped.",
        _each(lambda figures: _by("rxws.drop.reason", figures.dropped)),
    ),
    _Metric(
        "rxws.paused.time",
        "counter",
        "s",
        "How long the delivery of received messages was held.",
        _each(lambda figures: [(figures.paused, {})]),
    ),
    _Metric(
        "rxws.send_buffer.usage",
        "up_down_counter",
        "By",
        "Bytes that the kernel has not accepted yet.",
        _each(lambda figures: [(figures.buffered, {})]),
    ),
    _Metric(
        "rxws.reconnect.clients",
        "up_down_counter",
        "{client}",
        "Reconnecting clients by state.",
        _clients,
    ),
    _Metric(
        "rxws.hub.status",
        "up_down_counter",
        "{hub}",
        "Hubs by state.",
        _hubs,
    ),
    _Metric(
        "rxws.hub.gaps",
        "counter",
        "{gap}",
        "Places where subscribers may have missed messages.",
        _gaps,
    ),
)

_HUB_METRICS = [_Metric(*metric, _hub_stat(name)) for name, metric in HUB_STATS.items()]


class Instruments:
    """The instruments of one meter.

    OpenTelemetry cannot remove instruments, nor replace their callbacks. So there is one object of
    this class for each provider, which is used again.

    Attributes:
        source: Returns the current values, on any thread; None while nothing is reported.
    """

    def __init__(self, meter: Meter) -> None:
        self.source: Callable[[], Snapshot] | None = None
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._taken_at = 0.0
        self._read: set[str] = set()  # the metrics that have read the snapshot
        self.closed = meter.create_counter(
            "rxws.closed_connections", "{connection}", "Connections that have ended."
        )
        self.failed_handshakes = meter.create_counter(
            "rxws.failed_handshakes",
            "{handshake}",
            "Handshakes that a server has refused, and attempts of a client that have failed.",
        )
        self.duration = meter.create_histogram(
            "rxws.connection.duration",
            "s",
            "How long connections were open.",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self.latency = meter.create_histogram(
            "rxws.heartbeat.duration",
            "s",
            "Time between a heartbeat's ping and its pong.",
            explicit_bucket_boundaries_advisory=_LATENCIES,
        )
        self.attempts = meter.create_counter(
            "rxws.reconnect.attempts", "{attempt}", "Attempts of reconnecting clients to connect."
        )
        for metric in (*_METRICS, *_HUB_METRICS):
            create: Callable[..., Any] = getattr(meter, f"create_observable_{metric.kind}")
            observe = partial(self._observe, metric)
            create(metric.name, [observe], metric.unit, metric.description)

    def _observe(self, metric: _Metric, _: CallbackOptions) -> Iterable[Observation]:
        snapshot = self._snapshot_for(metric.name)
        if snapshot is None:
            return []
        return [Observation(value, attributes) for value, attributes in metric.read(snapshot)]

    def _snapshot_for(self, name: str) -> Snapshot | None:
        """Return a snapshot that all metrics of one collection share."""
        with self._lock:
            source = self.source
            if source is None:
                return None
            now = time.monotonic()
            if self._snapshot is None or name in self._read or now - self._taken_at > _MAX_AGE:
                self._snapshot, self._taken_at = source(), now
                self._read.clear()
            self._read.add(name)
            return self._snapshot

    def start(self, source: Callable[[], Snapshot]) -> None:
        """Report what `source` returns."""
        with self._lock:
            self.source, self._snapshot = source, None

    def stop(self) -> None:
        """Report nothing."""
        with self._lock:
            self.source = self._snapshot = None
