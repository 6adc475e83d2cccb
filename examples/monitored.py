"""Metrics for Prometheus: rxws reports to OpenTelemetry, and `/metrics` shows what it reports.

Install `opentelemetry-sdk` and `opentelemetry-exporter-prometheus`, run it, and connect with
`websockets ws://127.0.0.1:8080/rooms/lobby`. Then look at http://127.0.0.1:8080/metrics, or let a
Prometheus scrape this address. The docs have a query for each figure: see "Running in production".
"""

import asyncio

import reactivex as rx
from aiohttp import web
from opentelemetry import metrics
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import rxws

hub = rxws.Hub(codec=rxws.codecs.text)


@rxws.websocket(codec=rxws.codecs.text)
def room(conn: rxws.Connection[str, str]) -> rx.Observable[str]:
    topic = hub.topic(conn.handshake.url.path)
    conn.incoming.subscribe(topic)
    return rx.merge(topic, topic.joined(conn.handshake.url.query.get("name", "anonymous")))


async def scrape(_: web.Request) -> web.Response:
    # On another thread: with thousands of connections, reading all of them takes a while.
    text = await asyncio.to_thread(generate_latest)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def make_app() -> web.Application:
    app = web.Application()
    app.add_routes([web.get("/rooms/{room}", room), web.get("/metrics", scrape)])
    hub.setup(app)
    rxws.setup(app)
    return app


if __name__ == "__main__":
    metrics.set_meter_provider(MeterProvider([PrometheusMetricReader()]))
    rxws.metrics.install()
    web.run_app(make_app(), host="127.0.0.1", port=8080)
