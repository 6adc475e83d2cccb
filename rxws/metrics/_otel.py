"""`OpenTelemetry`: reports what happens in this process to the OpenTelemetry API."""

from __future__ import annotations

import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry import propagate, trace
from opentelemetry.metrics import MeterProvider, get_meter
from opentelemetry.trace import SpanKind, TracerProvider, get_tracer
from yarl import URL

from rxws._core.connection import Close, without_secrets
from rxws._core.errors import short_repr
from rxws._core.instrumentation import InstrumentedHub
from rxws.status import Connecting

from ._connection import Attributes, ConnectionReport, Labels
from ._figures import Figures
from ._instruments import CLIENT_STATES, HUB_STATS, Instruments, Snapshot

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["OpenTelemetry"]

# By provider. The global one, for which None is passed, can be set once only.
_INSTRUMENTS: weakref.WeakKeyDictionary[MeterProvider, Instruments] = weakref.WeakKeyDictionary()
_GLOBAL: list[Instruments] = []


def _version() -> str:
    version: str = import_module("rxws").__version__  # a layer above this one
    return version


def _instruments(provider: MeterProvider | None) -> Instruments:
    """Return the instruments of a provider, which exist once."""
    known = (_GLOBAL[0] if _GLOBAL else None) if provider is None else _INSTRUMENTS.get(provider)
    if known is None:
        known = Instruments(get_meter("rxws", _version(), provider))
        if provider is None:
            _GLOBAL.append(known)
        else:
            _INSTRUMENTS[provider] = known
    return known


class _ClientReport:
    """The state of one reconnecting client; it counts while the client exists."""

    __slots__ = ("__weakref__", "_attempts", "state")

    def __init__(self, attempts: Callable[[int], object]) -> None:
        self._attempts = attempts
        self.state = ""

    def __call__(self, status: object) -> None:
        self.state = type(status).__name__.lower()
        if isinstance(status, Connecting):
            self._attempts(1)


class OpenTelemetry:
    """The `Instrumentation` that reports to OpenTelemetry, and the `Monitor` of connections.

    Metrics may be collected on any thread, while connections open and close on theirs.

    Args:
        meter_provider: Where the metrics go; None for the global one.
        tracer_provider: Where the spans go; None for the global one.

    Raises:
        TypeError: A provider has the wrong type.
    """

    def __init__(
        self, meter_provider: MeterProvider | None, tracer_provider: TracerProvider | None
    ) -> None:
        for name, value, kind in (
            ("meter_provider", meter_provider, MeterProvider),
            ("tracer_provider", tracer_provider, TracerProvider),
        ):
            if value is not None and not isinstance(value, kind):
                raise TypeError(f"{name}={short_repr(value)} is no opentelemetry {kind.__name__}")
        self._tracer = get_tracer("rxws", _version(), tracer_provider)
        self._instruments = _instruments(meter_provider)
        # Held for a few steps only, as the event loops wait for it.
        self._lock = threading.Lock()
        self._reports: set[ConnectionReport] = set()
        self._retired: defaultdict[Labels, Figures] = defaultdict(Figures)
        self._clients: weakref.WeakSet[_ClientReport] = weakref.WeakSet()
        self._had_client = False
        # The counters of each hub, which are added to these sums once it is deleted.
        self._hubs: dict[weakref.ref[InstrumentedHub], Any] = {}
        self._deleted_hubs: Counter[str] = Counter()
        self._deleted_gaps: Counter[str] = Counter()
        self._had_hub = False
        self._instruments.start(self._collect)
        self._stopped = False

    def stop(self) -> None:
        """Report no metrics any more; open connections still end their spans."""
        self._stopped = True
        self._instruments.stop()

    # --- Instrumentation --------------------------------------------------------------------

    def server(self, request: web.Request) -> ConnectionReport:
        route = _route_of(request)
        attributes: Attributes = {
            "http.request.method": request.method,
            "url.scheme": request.scheme,
            "url.path": request.path,
            "network.protocol.name": "websocket",
        }
        for name, value in (
            ("http.route", route),
            ("client.address", request.remote),
            ("user_agent.original", request.headers.get("User-Agent")),
        ):
            if value is not None:
                attributes[name] = value
        # An instrumentation of aiohttp has done this already, if there is one.
        has_parent = trace.get_current_span().get_span_context().is_valid
        parent = None if has_parent else propagate.extract(request.headers)
        name = "WebSocket" if route is None else f"WebSocket {route}"
        span = self._tracer.start_span(name, parent, SpanKind.SERVER, attributes)
        labels: Labels = (("rxws.role", "server"),)
        return ConnectionReport(
            self, labels if route is None else (*labels, ("http.route", route)), span
        )

    def client(self, url: str | URL) -> ConnectionReport:
        attributes: Attributes = {"network.protocol.name": "websocket"}
        try:
            attributes["url.full"] = str(without_secrets(URL(url)))
        except ValueError:  # not a valid URL: the handshake will fail
            pass
        span = self._tracer.start_span("WebSocket", None, SpanKind.CLIENT, attributes)
        return ConnectionReport(self, (("rxws.role", "client"),), span)

    def reconnecting(self) -> Callable[[object], None]:
        report = _ClientReport(self._instruments.attempts.add)
        with self._lock:
            self._clients.add(report)
            self._had_client = True
        return report

    def hub(self, hub: InstrumentedHub) -> None:
        with self._lock:
            self._hubs[weakref.ref(hub)] = hub.counters
            self._had_hub = True

    # --- Monitor ----------------------------------------------------------------------------

    def on_handshake_failed(self, labels: Labels, attributes: Attributes) -> None:
        if not self._stopped:
            self._instruments.failed_handshakes.add(1, {**dict(labels), **attributes})

    def on_open(self, report: ConnectionReport) -> None:
        with self._lock:
            self._reports.add(report)

    def on_latency(self, labels: Labels, seconds: float) -> None:
        if not self._stopped:
            self._instruments.latency.record(seconds, dict(labels))

    def on_closed(self, labels: Labels, close: Close, seconds: float) -> None:
        if not self._stopped:
            attributes = {"rxws.close.code": close.code, "rxws.close.by": close.by}
            self._instruments.closed.add(1, {**dict(labels), **attributes})
            self._instruments.duration.record(seconds, dict(labels))

    def retire(self, report: ConnectionReport, figures: Figures) -> None:
        with self._lock:
            if report in self._reports:
                self._reports.remove(report)
                self._retired[report.labels].add(figures)

    def on_dropped_late(self, labels: Labels, reason: str, count: int) -> None:
        with self._lock:
            self._retired[labels].dropped[reason] += count

    # --- on any thread ----------------------------------------------------------------------

    def _collect(self) -> Snapshot:
        with self._lock:
            reports = list(self._reports)
            connections: defaultdict[Labels, Figures] = defaultdict(Figures)
            for labels, figures in self._retired.items():
                connections[labels].add(figures)
            clients = Counter(report.state for report in self._clients)
        for report in reports:
            figures = report.read()
            if report.lost:
                figures.open = figures.buffered = 0
                self.retire(report, figures)
            connections[report.labels].add(figures)
        states = {state: clients[state] for state in CLIENT_STATES} if self._had_client else None
        return Snapshot(connections, states, *self._collect_hubs())

    def _collect_hubs(self) -> tuple[dict[str, int] | None, dict[str, float], Counter[str]]:
        hubs = self._live_hubs()
        if not self._had_hub:
            return None, {}, Counter()
        states = Counter("connected" if hub.is_connected else "away" for hub in hubs if hub.started)
        all_stats = [hub.stats for hub in hubs]
        sums: dict[str, float] = {}
        for name, (_, kind, *_) in HUB_STATS.items():
            values = [getattr(stats, name) for stats in all_stats]
            sums[name] = max(values, default=0) if kind == "gauge" else sum(values)
        for name, count in self._deleted_hubs.items():
            sums[name] += count
        gaps = self._deleted_gaps.copy()
        for stats in all_stats:
            gaps.update(stats.gaps)
        return dict(states), sums, gaps

    def _live_hubs(self) -> list[InstrumentedHub]:
        """Return the hubs, without those that were deleted: of these, the counts are kept."""
        hubs: list[InstrumentedHub] = []
        with self._lock:
            for ref, counters in list(self._hubs.items()):
                if (hub := ref()) is not None:
                    hubs.append(hub)
                    continue
                del self._hubs[ref]
                for name, (_, kind, *_) in HUB_STATS.items():
                    if kind == "counter":
                        self._deleted_hubs[name] += getattr(counters, name)
                self._deleted_gaps.update(counters.gaps)
        return hubs


def _route_of(request: web.Request) -> str | None:
    """Return the template of a route, such as `/chat/{room}`; None if there is none."""
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical
