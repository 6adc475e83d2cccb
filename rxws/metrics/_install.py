"""`install`: report to OpenTelemetry from now on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._core import instrumentation
from rxws._core.log import logger

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["install"]

_REMEDY = "rxws.metrics needs OpenTelemetry: pip install 'rxws[otel]'"

_installed: DisposableBase | None = None


def install(
    meter_provider: MeterProvider | None = None, tracer_provider: TracerProvider | None = None
) -> DisposableBase:
    """Report metrics and spans of all connections, reconnecting clients and hubs to OpenTelemetry.

    Call it when your program starts, on any thread: connections and reconnecting clients that are
    older than this call are not measured; hubs are. Each connection gets a span, from the handshake
    to its end. The metrics are listed in the guide "Running in production".

    Messages cost next to nothing more: the counters of each connection are read when the metrics
    are collected.

    Args:
        meter_provider: Where the metrics go; by default the global one of
            `opentelemetry.metrics`, even if it is set later.
        tracer_provider: Where the spans go; by default the global one of `opentelemetry.trace`,
            even if it is set later. For no spans, pass a
            `opentelemetry.trace.NoOpTracerProvider()`.

    Returns:
        A Disposable that stops the reports. Connections that are still open then end their spans
        when they close. If rxws reports to OpenTelemetry already, `install` logs a warning, changes
        nothing, and returns the same Disposable again.

    Raises:
        ImportError: OpenTelemetry is not installed: run `pip install 'rxws[otel]'`.
        TypeError: A provider has the wrong type.

    Examples:
        ```python
        from opentelemetry import metrics
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider

        metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
        rxws.metrics.install()
        ```
    """
    global _installed
    try:
        from ._otel import OpenTelemetry
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] != "opentelemetry":
            raise
        raise ImportError(_REMEDY) from exc
    if _installed is not None:
        logger.warning(
            "rxws.metrics.install was called again: rxws reports to the providers of the first "
            "call; dispose of its result first to use others"
        )
        return _installed
    reporting = OpenTelemetry(meter_provider, tracer_provider)
    installed = instrumentation.install(reporting)

    def uninstall() -> None:
        global _installed
        installed.dispose()
        reporting.stop()
        _installed = None

    _installed = Disposable(uninstall)
    return _installed
