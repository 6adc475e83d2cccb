"""Several instrumentations at once."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from rxws._core import instrumentation
from rxws._core.connection import Close, Connection
from rxws._core.frames import Frame, Opcode
from rxws._core.instrumentation import (
    NO_TELEMETRY,
    ConnectionTelemetry,
    InstrumentedHub,
    NoInstrumentation,
    NoTelemetry,
    OnMessage,
    Write,
)
from rxws.hub import Hub
from rxws.testing import Clock
from support.virtual.session import VirtualSession


class Journal(NoInstrumentation):
    """Notes what is reported, in a list that others write to as well."""

    def __init__(self, name: str, lines: list[str]) -> None:
        self.name = name
        self.lines = lines

    def note(self, text: str) -> None:
        self.lines.append(f"{self.name} {text}")

    def client(self, url: object) -> ConnectionTelemetry:
        return Notes(self)

    def reconnecting(self) -> Callable[[object], None]:
        return lambda status: self.note(f"status {status}")

    def hub(self, hub: InstrumentedHub) -> None:
        self.note("hub")


class Notes(NoTelemetry):
    def __init__(self, journal: Journal) -> None:
        self.note = journal.note
        self.name = journal.name

    def __enter__(self) -> Notes:
        self.note("enter")
        return self

    # It is a static method of the parent, to save memory.
    def __exit__(  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        self, kind: object, exc: BaseException | None, traceback: object, /
    ) -> None:
        self.note(f"exit {exc!r}")

    def trace_headers(self) -> Mapping[str, str]:
        return {self.name: "1"}

    def count_received(self, on_message: OnMessage) -> OnMessage:
        def count(data: str | bytes, size: int) -> None:
            self.note(f"received {data!r}")
            on_message(data, size)

        return count

    def count_sent(self, write: Write) -> Write:
        def count(opcode: Any, payload: bytes) -> bool:
            self.note(f"sent {payload!r}")
            return write(opcode, payload)

        return count

    def on_queued_sent(self, frame: Frame) -> None:
        self.note(f"queued {frame.payload!r}")

    def on_open(self, connection: Connection[Any, Any]) -> None:
        self.note("open")

    def on_latency(self, seconds: float) -> None:
        self.note(f"latency {seconds}")

    def on_exception(self, error: BaseException) -> None:
        self.note(f"exception {error!r}")

    def on_closed(self, close: Close, failed: bool) -> None:
        self.note(f"closed {close.code} {failed}")

    def on_released(self) -> None:
        self.note("released")

    def on_dropped_late(self, reason: str, count: int) -> None:
        self.note(f"dropped {reason} {count}")


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are reported, without the hubs of other tests."""
    monkeypatch.setattr(instrumentation, "hubs", set())
    return []


def report_everything() -> None:
    """Call each method as hubs, reconnecting clients and connections do."""
    unused: Any = None
    instrumentation.active.hub(unused)
    instrumentation.active.reconnecting()("connecting")
    with instrumentation.active.client("ws://peer.example/") as telemetry:
        telemetry.on_open(unused)
        telemetry.count_received(lambda data, _: None)("in", 2)
        assert telemetry.count_sent(lambda _, __: True)(Opcode.TEXT, b"out")
        telemetry.on_queued_sent(Frame(Opcode.TEXT, b"late"))
        telemetry.on_latency(0.5)
        telemetry.on_exception(LookupError("oops"))
        telemetry.on_closed(Close(1011), True)
        telemetry.on_released()
        telemetry.on_dropped_late("closed", 2)


def test_each_of_several_instrumentations_gets_everything(lines: list[str]) -> None:
    """Two instrumentations get what one gets alone, and the connection goes on as without them."""
    with instrumentation.install(Journal("one", lines)):
        report_everything()
        alone = lines[:]
        assert len(alone) == len(set(alone)) == 13
        lines.clear()
        with instrumentation.install(Journal("two", lines)):
            report_everything()
            headers = instrumentation.active.client("ws://peer.example/").trace_headers()
    assert headers == {"one": "1", "two": "1"}
    assert [line for line in lines if line.startswith("one")] == alone
    assert [line for line in lines if line.startswith("two")] == [
        line.replace("one ", "two ", 1) for line in alone
    ]
    entered_and_left = [line for line in lines if line.endswith(("enter", "exit None"))]
    assert entered_and_left == ["one enter", "two enter", "two exit None", "one exit None"]


def test_messages_pass_all_instrumentations(lines: list[str]) -> None:
    """Both count each message of a session, and it arrives once."""
    with (
        instrumentation.install(Journal("one", lines)),
        instrumentation.install(Journal("two", lines)),
        instrumentation.active.client("ws://peer.example/") as telemetry,
    ):
        virtual = VirtualSession(telemetry=telemetry, watch=True)
    lines.clear()
    virtual.peer.message("in")
    virtual.conn.outgoing.on_next("out")
    assert virtual.incoming.values == ["in"]
    assert [sent.message for sent in virtual.transport.sent] == ["out"]
    assert sorted(lines) == [
        *("one received 'in'", "one sent b'out'", "two received 'in'", "two sent b'out'"),
    ]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (1, 0, 2)])
def test_instrumentations_may_be_removed_in_any_order(
    lines: list[str], order: tuple[int, ...]
) -> None:
    """Those that remain go on; after the last one, nothing is reported, as before the first."""
    before = instrumentation.active
    names = ["one", "two", "three"]
    installed = [instrumentation.install(Journal(name, lines)) for name in names]
    for removed in order:
        lines.clear()
        instrumentation.active.reconnecting()("open")
        assert lines == [f"{name} status open" for name in names if name]
        names[removed] = ""
        for _ in range(2):  # the second time changes nothing
            installed[removed].dispose()
    assert instrumentation.active is before
    assert instrumentation.active.client("ws://peer.example/") is NO_TELEMETRY


def test_one_instrumentation_is_called_directly(lines: list[str]) -> None:
    """With one installed, or only one that reports a connection, nothing stands in between."""
    request: Any = None
    with instrumentation.install(journal := Journal("one", lines)):
        assert instrumentation.active is journal
        with instrumentation.install(NoInstrumentation()):
            assert isinstance(instrumentation.active.client(""), Notes)
            assert instrumentation.active.server(request) is NO_TELEMETRY


def test_hubs_that_are_older_are_reported(lines: list[str]) -> None:
    """An instrumentation learns of each hub that exists, and of each that is created later."""
    older = Hub(scheduler=Clock())
    with instrumentation.install(Journal("one", lines)):
        assert lines == ["one hub"]
        later = Hub(scheduler=Clock())
        with instrumentation.install(Journal("two", lines)):
            assert lines == ["one hub", "one hub", "two hub", "two hub"]
    Hub(scheduler=Clock())
    assert len(lines) == 4
    del older, later


def test_a_hub_that_is_just_being_deleted_is_not_reported(lines: list[str]) -> None:
    """Its reference may still be in the set, on whichever thread it is deleted."""
    hub = Hub(scheduler=Clock())
    (ref,) = instrumentation.hubs
    del hub
    gc.collect()
    assert ref() is None
    instrumentation.hubs.add(ref)
    with instrumentation.install(Journal("one", lines)):
        assert not lines
