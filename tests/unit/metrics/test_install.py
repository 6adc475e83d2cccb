"""`rxws.metrics.install`, and what it returns."""

from __future__ import annotations

import logging
import subprocess
import sys
from typing import Any

import pytest
from opentelemetry import metrics as otel

import rxws
from rxws._core import instrumentation
from rxws._core.instrumentation import NO_TELEMETRY, NoInstrumentation
from rxws.metrics import _otel
from rxws.status import Connecting
from support import TESTS
from support.telemetry import Telemetry, installed
from support.virtual.session import VirtualSession


def connected() -> VirtualSession:
    """A session that reports where rxws reports."""
    with instrumentation.active.client("ws://peer.example/") as telemetry:
        return VirtualSession(telemetry=telemetry, watch=True)


def test_nothing_is_reported_by_default() -> None:
    """Without `install`, all connections share one object that does nothing and keeps nothing."""
    active = instrumentation.active
    assert isinstance(active, NoInstrumentation)
    request: Any = None
    assert active.server(request) is active.client("") is NO_TELEMETRY
    assert not NO_TELEMETRY.trace_headers()
    on_message, write = (lambda _, __: None), (lambda _, __: True)
    assert NO_TELEMETRY.count_received(on_message) is on_message
    assert NO_TELEMETRY.count_sent(write) is write
    assert active.reconnecting() is active.reconnecting()
    active.reconnecting()(Connecting(1))


def test_disposing_stops_the_reports() -> None:
    """After `dispose`, no metric changes; connections that are open end their spans."""
    telemetry = Telemetry()
    reporting = rxws.metrics.install(telemetry.meters, telemetry.tracers)
    virtual = connected()
    failing = instrumentation.active.client("ws://peer.example/")
    assert telemetry.values("active_connections") == {"client": 1}
    reporting.dispose()
    assert isinstance(instrumentation.active, NoInstrumentation)
    virtual.session.on_latency(0.1)
    virtual.peer.close(1000)
    with failing:
        pass
    assert not telemetry.collect()
    assert len(telemetry.spans) == 2
    connected()
    assert not telemetry.collect()


def test_installing_again_after_disposing_reports_to_the_same_instruments() -> None:
    """A provider may be used again: OpenTelemetry would ignore the callbacks of new instruments."""
    telemetry = Telemetry()
    for _ in range(2):
        with rxws.metrics.install(telemetry.meters, telemetry.tracers):
            virtual = connected()
            assert telemetry.values("active_connections") == {"client": 1}
            virtual.peer.close(1000)
    assert telemetry.values("closed_connections") == {"client": 2}
    assert not telemetry.values("active_connections")


def test_the_global_providers_are_the_default() -> None:
    """Without arguments, rxws reports to the global providers, which may be set later."""
    code = """
import rxws
from opentelemetry import metrics, trace
from support.telemetry import Telemetry
from rxws._core import instrumentation
rxws.metrics.install().dispose()
reporting = rxws.metrics.install()
telemetry = Telemetry()
metrics.set_meter_provider(telemetry.meters)
trace.set_tracer_provider(telemetry.tracers)
with instrumentation.active.client("ws://peer.example/"):
    pass
print(telemetry.values("failed_handshakes"), [span.name for span in telemetry.spans])
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=TESTS, check=True, capture_output=True, text=True
    )
    assert run.stdout == "{'client': 1} ['WebSocket']\n"


def test_without_a_provider_nothing_fails() -> None:
    """As long as the program sets no global provider, OpenTelemetry drops what it gets."""
    for _ in range(2):
        with rxws.metrics.install():
            virtual = connected()
            virtual.peer.close(1000)
            assert [each.code for each in virtual.closed.values] == [1000]
    assert len(_otel._GLOBAL) == 1, "OpenTelemetry cannot remove instruments"


def test_a_second_install_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """As OpenTelemetry's own instrumentations do, a second call logs a warning and does nothing."""
    with caplog.at_level(logging.WARNING, "rxws"), installed() as telemetry:
        other = Telemetry()
        again = rxws.metrics.install(other.meters, other.tracers)
        connected()
        assert telemetry.values("active_connections") == {"client": 1}
        assert not other.collect()
        again.dispose()
        assert not telemetry.collect()
    [record] = caplog.records
    assert "install was called again" in record.message


@pytest.mark.parametrize("name", ["meter_provider", "tracer_provider"])
def test_a_wrong_provider_is_an_error(name: str) -> None:
    """A provider of the wrong type is named in a TypeError, and nothing is installed."""
    wrong: Any = {name: otel.get_meter("a meter is no provider")}
    with pytest.raises(TypeError, match=f"{name}=.* is no opentelemetry"):
        rxws.metrics.install(**wrong)
    assert isinstance(instrumentation.active, NoInstrumentation)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [
        ("opentelemetry", "rxws.metrics needs OpenTelemetry: pip install 'rxws[otel]'"),
        ("yarl", "import of yarl halted; None in sys.modules"),
    ],
)
def test_a_missing_opentelemetry_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, missing: str, expected: str
) -> None:
    """Without OpenTelemetry, `install` names the command; another missing module is a defect."""
    monkeypatch.delitem(sys.modules, "rxws.metrics._otel", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as raised:
        rxws.metrics.install()
    assert str(raised.value) == expected
    assert isinstance(instrumentation.active, NoInstrumentation)


def test_importing_rxws_does_not_import_opentelemetry() -> None:
    """Neither `import rxws` nor `import rxws.metrics` imports OpenTelemetry."""
    code = "import sys, rxws.metrics; print('opentelemetry' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=TESTS.parent, check=True, capture_output=True, text=True
    )
    assert run.stdout == "False\n"
