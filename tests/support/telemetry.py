"""What rxws reports to OpenTelemetry, collected in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rxws import metrics

__all__ = ["Telemetry", "installed"]


class Telemetry:
    """Providers that keep what they get."""

    def __init__(self) -> None:
        self._reader = InMemoryMetricReader()
        self._exporter = InMemorySpanExporter()
        self.meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))

    def collect(self) -> dict[str, Any]:
        """Collect all metrics, by name."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def values(self, name: str, *by: str, **where: Any) -> dict[Any, Any]:
        """Collect a metric: its values, or the counts of a histogram, by some attributes.

        Args:
            name: The metric, without `rxws.`.
            *by: The attributes that are the key; without any, the key is the role.
            **where: Only points with these attributes; `__` stands for a dot.
        """
        metric = self.collect().get(f"rxws.{name}")
        found: dict[Any, Any] = {}
        for point in metric.data.data_points if metric is not None else ():
            attributes = dict(point.attributes)
            if all(attributes.get(key.replace("__", ".")) == each for key, each in where.items()):
                key = tuple(attributes.get(each) for each in by or ("rxws.role",))
                value = point.value if hasattr(point, "value") else point.count
                found[key[0] if len(key) == 1 else key] = value
        return found

    @property
    def spans(self) -> list[ReadableSpan]:
        """The spans that have ended, in this order."""
        return list(self._exporter.get_finished_spans())

    def span(self, name: str) -> ReadableSpan:
        """The only span with a name."""
        [span] = [each for each in self.spans if each.name == name]
        return span

    def shutdown(self) -> None:
        self.meters.shutdown()
        self.tracers.shutdown()


@contextmanager
def installed() -> Iterator[Telemetry]:
    """Install `rxws.metrics` during the block."""
    telemetry = Telemetry()
    with metrics.install(telemetry.meters, telemetry.tracers):
        yield telemetry
    telemetry.shutdown()
