"""Metrics and traces of all connections, reconnecting clients and hubs, with OpenTelemetry.

Examples:
    ```python
    opentelemetry.metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    rxws.metrics.install()
    ```
"""

from ._install import install

__all__ = ["install"]
