"""Collecting metrics, in virtual time."""

from __future__ import annotations

import contextvars
import dataclasses
import gc
import threading
import types
import weakref
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from opentelemetry.trace import NoOpTracerProvider, StatusCode
from yarl import URL

import rxws
from rxws._core import instrumentation
from rxws._core.broadcast import Broadcast
from rxws._core.connection import Handshake, Stats
from rxws._core.frames import Opcode
from rxws._session.options import Options
from rxws._session.session import Session
from rxws.hub import Hub, HubStats
from rxws.hub._stats import Counters
from rxws.metrics._figures import Binary, Figures
from rxws.metrics._instruments import HUB_STATS
from rxws.testing import Clock
from rxws.testing.fake_transport import FakeTransport
from support.telemetry import Telemetry, installed
from support.virtual.session import VirtualSession
from support.virtual.two_hubs import TwoHubs


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    with installed() as telemetry:
        yield telemetry


def connected(**options: Any) -> VirtualSession:
    """A session that reports."""
    with instrumentation.active.client("ws://peer.example/") as telemetry:
        return VirtualSession(telemetry=telemetry, watch=True, **options)


def test_paused_time_is_counted_while_it_passes(telemetry: Telemetry) -> None:
    """The time of a pause grows during the pause, and stays after the end of the connection."""
    virtual = connected()
    with virtual.conn.flow.pause():
        virtual.run(2)
        assert telemetry.values("paused.time") == {"client": 2}
        virtual.run(1)
    virtual.run(1)
    virtual.peer.close(1000)
    virtual.session.on_released()
    del virtual
    assert telemetry.values("paused.time") == {"client": 3}


def test_the_round_trip_of_a_heartbeat_is_a_histogram(telemetry: Telemetry) -> None:
    """Each heartbeat that is answered counts, with the time between its ping and its pong."""
    virtual = connected(heartbeat=10)
    virtual.run(10)
    virtual.run(0.25)
    virtual.peer.pong(b"1")
    [point] = telemetry.collect()["rxws.heartbeat.duration"].data.data_points
    assert (point.count, point.sum) == (1, 0.25)
    assert point.attributes == {"rxws.role": "client"}


def test_the_duration_of_a_connection_is_a_histogram(telemetry: Telemetry) -> None:
    """A connection that has ended counts, with the time since its handshake."""
    virtual = connected()
    virtual.run(90)
    assert "rxws.connection.duration" not in telemetry.collect()
    virtual.peer.close(1000)
    [point] = telemetry.collect()["rxws.connection.duration"].data.data_points
    assert (point.count, point.sum) == (1, 90)


def test_a_lost_heartbeat_fails_the_span(telemetry: Telemetry) -> None:
    """A connection that ends by a lost heartbeat has a span with an error status."""
    virtual = connected(heartbeat=10)
    virtual.run(20)
    span = telemetry.span("WebSocket")
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes is not None
    assert span.attributes["rxws.close.by"] == "network"
    assert span.attributes["error.type"] == "1006"


def test_messages_dropped_after_the_release_count(telemetry: Telemetry) -> None:
    """Messages that a program sends long after the end are counted as dropped."""
    virtual = connected()
    virtual.peer.close(1000)
    virtual.conn.outgoing.on_next("late")
    virtual.session.on_released()
    virtual.conn.outgoing.on_next("later")
    assert telemetry.values("dropped_messages", "rxws.drop.reason") == {"closed": 2}
    assert virtual.stats.dropped == {"closed": 2}


def test_a_connection_that_is_deleted_without_an_end_leaves_its_counts(
    telemetry: Telemetry,
) -> None:
    """If the loop is closed, connections vanish: they are not open, and no count falls."""
    virtual = connected()
    virtual.peer.message("a", b"bc")
    assert telemetry.values("active_connections") == {"client": 1}
    del virtual
    gc.collect()
    for _ in range(2):
        assert telemetry.values("active_connections") == {"client": 0}
        received = {"network__io__direction": "receive"}
        messages = telemetry.values("messages", "rxws.message.type", **received)
        assert messages == {"text": 1, "binary": 1}


def test_older_connections_are_not_measured() -> None:
    """Connections that are older than `install` change no metric when they end."""
    virtual = connected()
    with installed() as telemetry:
        connected()
        virtual.peer.message("a")
        virtual.peer.close(1000)
        assert telemetry.values("active_connections") == {"client": 1}
        assert not telemetry.values("closed_connections")
        assert set(telemetry.values("messages").values()) == {0}


def test_a_message_that_the_wire_refuses_is_not_counted(telemetry: Telemetry) -> None:
    """A binary message counts when it is written: not when it is queued or lost."""
    virtual = connected()
    sent = {"network__io__direction": "transmit", "rxws__message__type": "binary"}
    virtual.peer.stop()
    virtual.conn.outgoing.on_next(b"fills the wire")
    virtual.conn.outgoing.on_next(b"waits")
    assert telemetry.values("messages", **sent) == {"client": 1}
    virtual.peer.go()
    assert telemetry.values("messages", **sent) == {"client": 2}
    virtual.transport.sever()
    assert not virtual.session.send_buffer.write(Opcode.BINARY, b"lost")
    assert telemetry.values("messages", **sent) == {"client": 2}


def test_a_message_that_connections_share_counts_for_each(telemetry: Telemetry) -> None:
    """Of messages to many connections, those count that were written, by their type."""
    first, second, lost = (connected() for _ in range(3))
    lost.transport.sever()
    for value in ("text", b"binary"):
        with Broadcast(value):
            for each in (first, second, lost):
                each.session.outgoing.push(value)
    transmitted = {"network__io__direction": "transmit"}
    messages = telemetry.values("messages", "rxws.message.type", **transmitted)
    assert messages == {"text": 2, "binary": 2}
    sizes = telemetry.values("io", "rxws.message.type", **transmitted)
    assert sizes == {"text": 8, "binary": 12}


def test_spans_that_are_not_recorded_cost_no_attributes() -> None:
    """Without a tracer that records, connections are measured all the same."""
    telemetry = Telemetry()
    with rxws.metrics.install(telemetry.meters, NoOpTracerProvider()):
        virtual = connected()
        virtual.peer.close(1000)
        assert telemetry.values("closed_connections") == {"client": 1}
    assert not telemetry.spans


def test_the_port_and_the_subprotocol_are_in_the_span(telemetry: Telemetry) -> None:
    """The span has the server's address, and the subprotocol if there is one."""
    for subprotocol in (None, "chat"):
        handshake = Handshake(URL("ws://peer.example/"), {}, subprotocol)
        clock = Clock()
        with instrumentation.active.client(handshake.url) as reported:
            session: Session[Any, Any] = Session(
                FakeTransport(clock), clock, Options(heartbeat=None), handshake, reported
            )
        session.on_lost()
    found = [dict(span.attributes or {}) for span in telemetry.spans]
    assert [each.get("rxws.subprotocol") for each in found] == [None, "chat"]
    assert {(each["server.address"], each["server.port"]) for each in found} == {
        ("peer.example", 80)
    }


def test_a_dial_that_is_closed_counts_as_failed(telemetry: Telemetry) -> None:
    """A coroutine that is closed while it connects may be closed in another context."""

    @types.coroutine
    def suspend() -> Generator[None, None, None]:
        yield

    async def dial() -> None:
        with instrumentation.active.client("ws://peer.example/"):
            await suspend()

    coroutine = dial()
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()
    failed = telemetry.values("failed_handshakes", "error.type")
    assert failed == {"GeneratorExit": 1}


def test_counts_never_fall() -> None:
    """If the thread of the connection is interrupted while it counts, no count is lower."""
    flow: Any = type("Flow", (), {"stats": Stats(10, 100, 10, 100, {}, 2.0), "buffered": 0})
    before = Figures().read(flow, Binary(2, 20, 3, 30), True)
    assert (before.received_text.messages, before.sent_text.bytes) == (8, 70)
    flow.stats = Stats(10, 100, 10, 100, {}, 1.5)
    after = before.read(flow, Binary(3, 30, 4, 40), True)
    assert (after.received_text, after.sent_text) == (before.received_text, before.sent_text)
    assert after.received_binary.messages == 3
    assert after.paused == 2.0


def test_metrics_may_be_collected_on_any_thread(telemetry: Telemetry) -> None:
    """While connections open, send and end, another thread reads counts that never fall."""
    totals: list[int] = []
    done = threading.Event()

    def collect() -> None:
        while not done.is_set():
            totals.append(sum(telemetry.values("messages", "rxws.message.type").values()))

    thread = threading.Thread(target=collect)
    thread.start()
    for number in range(200):
        virtual = connected()
        virtual.peer.message("a", b"b")
        virtual.conn.outgoing.on_next(b"c")
        virtual.peer.close(1000)
        if number % 2:
            virtual.session.on_released()
    done.set()
    thread.join()
    assert totals == sorted(totals)
    messages = telemetry.values("messages", "network.io.direction", "rxws.message.type")
    assert messages == {
        ("receive", "text"): 200,
        ("receive", "binary"): 200,
        ("transmit", "text"): 0,
        ("transmit", "binary"): 200,
    }


def test_a_connection_does_not_keep_the_context_of_its_handshake(telemetry: Telemetry) -> None:
    """A value of a context variable is freed with the task that has opened the connection."""

    class Value:
        pass

    variable: contextvars.ContextVar[Value] = contextvars.ContextVar("variable")

    def connect() -> tuple[VirtualSession, weakref.ref[Value]]:
        variable.set(value := Value())
        return connected(), weakref.ref(value)

    virtual, value = contextvars.Context().run(connect)
    gc.collect()
    assert value() is None
    assert virtual.session.is_open


def test_a_provider_that_is_used_no_more_is_freed() -> None:
    """After `dispose`, rxws refers to none of its providers."""

    def use() -> weakref.ref[Any]:
        with installed() as telemetry:
            connected().peer.close(1000)
            telemetry.collect()
        return weakref.ref(telemetry.meters)

    meters = use()
    gc.collect()
    assert meters() is None


# --- hubs -----------------------------------------------------------------------------------


def test_each_count_of_a_hub_has_a_metric() -> None:
    """Each field of `HubStats` is a metric, `gaps` by reason."""
    fields = {field.name for field in dataclasses.fields(HubStats)}
    assert {*HUB_STATS, "gaps"} == fields


@pytest.fixture
def _no_other_hubs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(instrumentation, "hubs", set())


def states(telemetry: Telemetry) -> dict[Any, Any]:
    return telemetry.values("hub.status", "rxws.hub.state")


@pytest.mark.usefixtures("_no_other_hubs")
def test_hubs_are_measured_also_if_they_are_older() -> None:
    """The counts of all hubs are added up, and the number of running hubs by state."""
    hubs = TwoHubs()
    hubs.collect(hubs.second.topic("kept:a").messages())
    hubs.publish("a", "b")
    with installed() as telemetry:
        assert telemetry.values("hub.published_messages") == {None: 2}
        assert telemetry.values("hub.confirmed_messages") == {None: 2}
        assert telemetry.values("hub.received_messages") == {None: 2}
        assert telemetry.values("hub.topics") == {None: 1}
        assert telemetry.values("hub.lag") == {None: 0}
        assert states(telemetry) == {"connected": 2, "away": 0}
        hubs.faulty.go_away()
        hubs.second.topic("kept:b").on_next("waits")
        hubs.clock.run(3)
        assert states(telemetry) == {"connected": 1, "away": 1}
        assert telemetry.values("hub.lag") == {None: 3}
        assert telemetry.values("hub.queued_messages") == {None: 1}
        hubs.faulty.come_back()
        hubs.clock.run(1)
        assert states(telemetry) == {"connected": 2, "away": 0}
        assert telemetry.values("hub.reconnects") == {None: 1}


@pytest.mark.usefixtures("_no_other_hubs")
def test_without_a_hub_there_are_no_metrics_of_hubs(telemetry: Telemetry) -> None:
    """A process without hubs does not report zeros; nor does a hub that does not run."""
    assert not [name for name in telemetry.collect() if "hub" in name]
    hub = Hub(scheduler=Clock())
    assert states(telemetry) == {"connected": 0, "away": 0}
    assert hub.stats == HubStats()


@pytest.mark.usefixtures("_no_other_hubs")
def test_the_counts_of_a_deleted_hub_stay(telemetry: Telemetry) -> None:
    """A hub that was deleted has no topics, members or lag; what it has counted stays."""
    clock = Clock()
    hub = Hub(scheduler=clock)
    hub.topic("a").subscribe()
    hub.topic("a").on_next("x")
    clock.run(0)
    assert telemetry.values("hub.topics") == {None: 1}
    del hub
    gc.collect()
    assert telemetry.values("hub.published_messages") == {None: 1}
    assert telemetry.values("hub.topics") == {None: 0}


def use_hub(messages: int) -> None:
    """Create a hub, publish messages, and delete it."""
    clock = Clock()
    hub = Hub(scheduler=clock)
    for number in range(messages):
        hub.topic("a").on_next(str(number))
    clock.run(0)


@pytest.mark.usefixtures("_no_other_hubs")
def test_hubs_that_were_deleted_between_two_collections_count(telemetry: Telemetry) -> None:
    """What a hub has counted is in the sums, even if no collection has seen the hub or its end."""
    use_hub(1)
    gc.collect()
    assert telemetry.values("hub.published_messages") == {None: 1}
    use_hub(2)
    clock = Clock()
    hub = Hub(scheduler=clock)
    hub.topic("a").on_next("x")
    clock.run(0)
    assert telemetry.values("hub.published_messages") == {None: 4}
    hub.topic("a").on_next("y")
    clock.run(0)
    del hub
    gc.collect()
    assert telemetry.values("hub.published_messages") == {None: 5}
    assert states(telemetry) == {"connected": 0, "away": 0}


@pytest.mark.usefixtures("_no_other_hubs")
def test_the_gaps_of_a_deleted_hub_stay(telemetry: Telemetry) -> None:
    """They count by reason, as those of other hubs do."""
    hubs = TwoHubs()
    hubs.collect(hubs.second.topic("kept:a").messages())
    hubs.publish("a")
    hubs.faulty.go_away()
    hubs.publish(*range(20))
    hubs.faulty.come_back()
    hubs.clock.run(1)
    del hubs
    gc.collect()
    for _ in range(2):
        assert telemetry.values("hub.gaps", "rxws.hub.gap.reason") == {"trimmed": 1}
    assert states(telemetry) == {"connected": 0, "away": 0}


@pytest.mark.usefixtures("_no_other_hubs")
def test_nothing_is_kept_of_hubs_that_were_deleted(telemetry: Telemetry) -> None:
    """A program that creates many hubs, one after the other, needs no more memory."""

    def number_of_counters() -> int:
        gc.collect()
        return sum(isinstance(each, Counters) for each in gc.get_objects())

    before = number_of_counters()
    for _ in range(10):
        use_hub(1)
    assert number_of_counters() == before + 10, "needed until the next collection"
    assert telemetry.values("hub.published_messages") == {None: 10}
    assert number_of_counters() == before
    assert telemetry.values("hub.published_messages") == {None: 10}


@pytest.mark.usefixtures("_no_other_hubs")
def test_gaps_and_members_of_hubs(telemetry: Telemetry) -> None:
    """Gaps count by their reason, and the members of this process are added up."""
    hubs = TwoHubs()
    hubs.collect(hubs.second.topic("kept:a").messages())
    hubs.collect(hubs.first.topic("kept:a").joined("ada"))
    assert telemetry.values("hub.members") == {None: 1}
    hubs.publish("a")
    hubs.faulty.go_away()
    hubs.publish(*range(20))
    hubs.faulty.come_back()
    hubs.clock.run(1)
    assert telemetry.values("hub.gaps", "rxws.hub.gap.reason") == {"trimmed": 1}
