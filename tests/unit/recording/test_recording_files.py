"""Saved recordings, and replay."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reactivex import operators as ops

import rxws
from rxws import Close, ConnectionClosed, Recording, codecs
from rxws._core.schedulers.loop_scheduler import LoopScheduler
from rxws._recording.jsonl import Event, RecordedError, RecordedValue
from rxws.codecs import Codec
from rxws.testing import Clock, Timeline, marbles, simulate
from support.fixtures import Serve
from support.virtual.session import VirtualSession


def recorded(*events: tuple[float, str, Any], lane: str = "incoming", keep: int = 99) -> Recording:
    """Return a recording with these events on one lane."""
    clock = Clock()
    recording = Recording(scheduler=clock, keep=keep)
    recording.lane(lane)
    for at, kind, data in events:
        clock.run(at - clock.time)
        recording.lane(lane).record(kind, data)
    return recording


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=[])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
CODES = st.sampled_from([1000, 1001, 1005, 1006, 1013, 3000, 4001, 4999])
CLOSES = st.builds(
    Close, CODES, st.text("aé ", max_size=10), st.sampled_from(["local", "peer", "network"])
)
EVENTS = st.one_of(
    st.tuples(st.just("next"), JSON | st.binary() | st.text(st.characters(exclude_categories=[]))),
    st.tuples(st.just("next"), CLOSES),
    st.tuples(st.just("error"), CLOSES.map(ConnectionClosed)),
    st.tuples(st.sampled_from(["completed", "disposed"]), st.none()),
)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(events=st.lists(st.tuples(st.sampled_from(["incoming", "outgoing", "x y"]), EVENTS)))
def test_save_and_load_keep_all_events(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, tuple[str, Any]]]
) -> None:
    """JSON values, text, bytes, closes and ends are loaded as they were saved, in order."""
    clock = Clock()
    recording = Recording(scheduler=clock, keep=max(len(events), 1))
    for lane, (kind, data) in events:
        clock.run(0.125)
        recording.lane(lane).record(kind, data)
    path = tmp_path_factory.getbasetemp() / "round.jsonl"
    recording.save(path)
    again = Recording.load(path)
    assert set(again.lanes) == set(recording.lanes)
    pairs = zip(recording.events, again.events, strict=True)
    for one, two in pairs:
        assert one[:4] == two[:4]
        if isinstance(one.data, ConnectionClosed):
            assert isinstance(two.data, ConnectionClosed)
            assert (two.data.close, two.data.close.by) == (one.data.close, one.data.close.by)
        else:
            assert two.data == one.data
            assert type(two.data) is type(one.data)
            assert getattr(two.data, "by", "") == getattr(one.data, "by", "")


@pytest.mark.parametrize(
    "value",
    [(1, 2), {1: 2}, {"a": (1,)}, {1, 2}, math.nan, math.inf, object, ValueError("x"), [b"x"]],
    ids=repr,
)
def test_other_values_are_saved_as_their_repr(tmp_path: Path, value: Any) -> None:
    """Other values are saved as their `repr`, and stay text when saved again."""
    recorded((0, "next", value)).save(tmp_path / "one")
    [event] = Recording.load(tmp_path / "one").events
    assert isinstance(event.data, RecordedValue)
    assert str(event.data) == repr(event.data) == repr(value)
    Recording.load(tmp_path / "one").save(tmp_path / "two")
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


def test_a_broken_repr_does_not_prevent_saving(tmp_path: Path) -> None:
    """A value whose `repr` raises is saved under the name of its class."""

    class Broken:
        def __repr__(self) -> str:
            raise KeyError("mine")

    recorded((0, "next", Broken())).save(tmp_path / "one")
    [event] = Recording.load(tmp_path / "one").events
    assert "Broken object" in event.data


def test_other_errors_are_saved_as_text(tmp_path: Path) -> None:
    """Errors other than `ConnectionClosed` are saved with their type and message."""
    recorded((1, "error", KeyError("k"))).save(tmp_path / "one")
    [event] = Recording.load(tmp_path / "one").events
    assert isinstance(event.data, RecordedError)
    assert str(event.data) == "KeyError: 'k'"


def test_a_file_has_one_json_object_per_event(tmp_path: Path) -> None:
    """Each line is a JSON object with five keys."""
    path = tmp_path / "session.jsonl"
    recorded((0.25, "next", "a"), (0.5, "next", b"\x00"), (0.75, "next", Close(4001))).save(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [
        {"t": 0.25, "lane": "incoming", "dir": "in", "type": "text", "data": "a"},
        {"t": 0.5, "lane": "incoming", "dir": "in", "type": "binary", "data": "AA=="},
        {
            "t": 0.75,
            "lane": "incoming",
            "dir": "in",
            "type": "close",
            "data": {"code": 4001, "reason": "", "by": "local"},
        },
    ]


def test_dropped_counts_and_empty_lanes_are_saved(tmp_path: Path) -> None:
    """Counts of dropped events and empty lanes are saved and loaded."""
    recording = recorded(*((float(at), "next", at) for at in range(5)), keep=2)
    recording.lane("errors")
    recording.save(tmp_path / "one")
    again = Recording.load(tmp_path / "one")
    assert again.lanes["incoming"].dropped == 3
    assert len(again.lanes["errors"]) == 0
    assert [event.t for event in again.events] == [3, 4]


GOOD = '{"t": 0, "lane": "a", "dir": null, "type": "text", "data": "x"}\n'


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"{", "Expecting property name"),
        (b"[]", "list indices"),
        (b"3", "not subscriptable"),
        (b"{}", "'type'"),
        (b'{"type": "text", "t": 0}', "'lane'"),
        (b'{"type": "text", "t": "x", "lane": "a"}', "must be real number"),
        (b'{"type": "text", "t": NaN, "lane": "a"}', "must be a finite number"),
        (b'{"type": "text", "t": null, "lane": "a"}', "NoneType"),
        (b'{"type": "odd", "t": 0, "lane": "a"}', "unknown type 'odd'"),
        (b'{"type": "text", "t": 0, "lane": "a", "dir": "up"}', "must be 'in', 'out' or null"),
        (b'{"type": "binary", "t": 0, "lane": "a", "data": "%%%"}', ""),
        (b'{"type": "close", "t": 0, "lane": "a", "data": {"code": 7}}', ""),
        (b'{"type": "close", "t": 0, "lane": "a", "data": {"kode": 7}}', ""),
        (b'{"type": "error", "t": 0, "lane": "a", "data": null}', ""),
        (b'{"type": "dropped", "t": 0, "lane": "a", "data": "x"}', ""),
        (b'{"type": "nested", "t": 0, "lane": "a", "data": {"outer": "b"}}', "'role'"),
        (
            (
                b'{"type": "nested", "t": 0, "lane": "a", "data": {"outer": "b", "role": "up", '
                b'"rest": false, "inners": 1, "values": 1, "label": "x"}}'
            ),
            "role='up' must be one of ('inner', 'input')",
        ),
        (b'{"type": "json", "t": 0, "lane": "a", "frame": {"type": "json"}}', "'data'"),
        (b'{"type": "json", "t": 0, "lane": "a", "frame": {"type": "json", "data": 1}}', "must be"),
        (b'{"type": "json", "t": 0, "lane": "a", "frame": {"type": "text", "data": 1}}', "must be"),
        (b'{"type": "json", "t": 0, "lane": "a", "frame": {"type": "binary", "data": "%"}}', ""),
        (b"\xff\xfe", "utf-8"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_bad_line_is_reported(tmp_path: Path, line: bytes, said: str) -> None:
    """A bad line raises `ValueError` with its number and its text."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + line + b"\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 3 is not a recorded event") as caught:
        Recording.load(path)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    """A missing file raises `FileNotFoundError`."""
    with pytest.raises(FileNotFoundError):
        Recording.load(tmp_path / "none")


# --- replay ---------------------------------------------------------------------------------------


def played(recording: Recording, **options: Any) -> Timeline:
    """Replay a recording on a virtual clock and return what it emits."""
    clock = Clock()
    out = Recording(scheduler=clock)
    recording.replay(**options).pipe(out.tap("x")).subscribe(
        lambda _: None, lambda _: None, scheduler=clock
    )
    clock.run(1000)
    return Timeline.of(out.lanes["x"])


FLOW = ((1.0, "next", "a"), (1.5, "next", "b"), (4.0, "next", "c"))


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (None, "--ab----(c,|)"),
        ("completed", "--ab----c-|"),
        ("disposed", "--ab----c-|"),
        ("error", "--ab----c-#"),
    ],
)
def test_a_replay_emits_events_at_their_times(end: str | None, expected: str) -> None:
    """A replay emits all events at their times, and completes if there was no end."""
    events = FLOW if end is None else (*FLOW, (5.0, end, KeyError("k") if end == "error" else None))
    seen = played(recorded(*events))
    # in marbles, "ab" would be one value
    times = {"--ab----(c,|)": [1, 1.5, 4, 4]}.get(expected, [1, 1.5, 4, 5])
    assert seen.times == times
    assert seen.values == ["a", "b", "c"]
    assert seen[-1].value == marbles(expected[-2] if expected[-1] == ")" else expected[-1])[0].value


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (2, 0.5), (0.5, 2.0), (math.inf, 0.0)])
def test_a_replay_has_a_speed(speed: float, factor: float) -> None:
    """A replay may be faster or slower, or have no delays."""
    assert played(recorded(*FLOW), speed=speed).times == [
        at * factor for at in (1.0, 1.5, 4.0, 4.0)
    ]


def test_a_loaded_recording_replays_like_the_original(tmp_path: Path) -> None:
    """A loaded recording replays like the one that was saved."""
    recording = recorded(*FLOW)
    recording.save(tmp_path / "x")
    assert played(Recording.load(tmp_path / "x")) == played(recording)


def test_a_replay_starts_with_the_first_kept_event() -> None:
    """A replay does not wait for events that are no longer kept."""
    events = [(float(at), "next", at) for at in range(100, 110)]
    assert played(recorded(*events, keep=3)).times == [0, 1, 2, 2]


def test_a_replay_checks_its_arguments() -> None:
    """An unknown lane or an invalid speed raises at once."""
    recording = recorded(*FLOW)
    with pytest.raises(KeyError, match="no lane 'x': the recording has"):
        recording.replay(lane="x")
    for speed in (0, -1, math.nan):
        with pytest.raises(ValueError, match="must be a number above 0"):
            recording.replay(speed)


def test_a_replay_is_cold() -> None:
    """Each subscriber receives a replay from the start; disposing cancels its timer."""
    clock = Clock()
    replay = recorded(*FLOW).replay(scheduler=clock)
    one: list[Any] = []
    two: list[Any] = []
    replay.subscribe(one.append)
    clock.run(2)
    subscription = replay.subscribe(two.append)
    clock.run(2)
    assert (one, two) == (["a", "b", "c"], ["a", "b"])
    subscription.dispose()
    assert clock.pending == 0


def test_a_late_timer_does_not_delay_later_events() -> None:
    """Delays are measured from the start, so that a slow subscriber does not add up."""
    clock = Clock()
    seen: list[float] = []

    def slow(value: Any) -> None:
        seen.append(clock.time)
        clock.sleep(1.0 if value == "a" else 0)

    recorded(*FLOW).replay(scheduler=clock).subscribe(slow)
    clock.run(10)
    assert seen == [1, 2, 4]


async def test_a_replay_runs_on_an_event_loop() -> None:
    """A replay runs on the subscriber's event loop."""
    done = asyncio.get_running_loop().create_future()
    got: list[Any] = []
    recorded(*FLOW).replay(speed=100).subscribe(
        got.append, on_completed=lambda: done.set_result(None), scheduler=LoopScheduler.running()
    )
    async with asyncio.timeout(20):
        await done
    assert got == ["a", "b", "c"]


def test_without_a_scheduler_a_replay_runs_on_a_thread() -> None:
    """Without a scheduler, a replay uses RxPY's timer threads."""
    assert recorded(*FLOW).replay(speed=1000).run() == "c"


# --- frames ---------------------------------------------------------------------------------------


class Tick(msgspec.Struct, tag=True):
    """A price at a time."""

    at: datetime
    price: Decimal


TICK = '{"type":"Tick","at":"2026-01-02T03:04:05Z","price":"9.50"}'
ticks = codecs.typed(Tick)
dates: Codec[Any, Any] = Codec(
    encode=lambda value: json.dumps(value, default=str),
    decode=lambda frame: {"at": datetime.fromisoformat(json.loads(frame)["at"])},
)
packed: Codec[Any, Any] = Codec(msgspec.msgpack.encode, cast(Any, msgspec.msgpack.decode))
only_in: Codec[Tick, str] = Codec(encode=str.upper, decode=ticks.decode)

CODECS = pytest.mark.parametrize(
    ("codec", "frame"),
    [
        (ticks, TICK),
        (only_in, TICK),
        (dates, '{"at": "2026-01-02T03:04:05"}'),
        (packed, msgspec.msgpack.encode({"a": b"bytes"})),
        (codecs.json, '"text"'),
        (codecs.json, "1e2"),
    ],
    ids=["typed", "asymmetric", "default", "msgpack", "json-text", "json-number"],
)


def record_one(codec: Any, frame: str | bytes) -> tuple[Recording, Any]:
    """Record a session that receives one frame; return its value, too."""
    recordings: list[Recording] = []
    virtual = VirtualSession(codec=codec)
    recordings.append(Recording.of(virtual.conn))
    incoming = virtual.watch(virtual.conn.incoming)
    virtual.peer.message(frame)
    virtual.run(1)
    virtual.peer.close(1000)
    virtual.run(1)
    return recordings[0], incoming.values[0]


@pytest.mark.promise("frames")
@CODECS
@pytest.mark.parametrize("loaded", [False, True])
def test_a_recorded_frame_is_decoded_again(
    tmp_path: Path, codec: Any, frame: str | bytes, loaded: bool
) -> None:
    """A recording keeps frames: `replay` and `simulate` decode them again, from a file, too."""
    recording, value = record_one(codec, frame)
    if loaded:
        recording.save(tmp_path / "x")
        recording = Recording.load(tmp_path / "x")
    clock = Clock()
    seen: list[Any] = []
    recording.replay(codec=codec, scheduler=clock).subscribe(seen.append)
    clock.run(5)
    assert seen == [value]
    assert type(seen[0]) is type(value)
    sim = simulate(lambda conn: conn.incoming.subscribe(), recording, codec=codec)
    assert sim.incoming.values == [value]
    assert (sim.closed, sim.failure) == (Close(1000), None)


def test_the_frames_of_both_directions_are_in_the_file(tmp_path: Path) -> None:
    """A line has the frame, as text or as base64, unless the value is the frame."""
    virtual = VirtualSession(lambda conn: conn.incoming, codec=packed)
    recording = Recording.of(virtual.conn)
    virtual.peer.message(b"\x91\x01")
    virtual.conn.outgoing.on_next("é")
    virtual.run(1)
    recording.save(tmp_path / "x")
    lines = [json.loads(line) for line in (tmp_path / "x").read_text().splitlines()]
    assert [(line["lane"], line["type"], line.get("frame")) for line in lines if line["dir"]] == [
        ("incoming", "json", {"type": "binary", "data": "kQE="}),
        ("outgoing", "json", {"type": "binary", "data": "kQE="}),
        ("outgoing", "text", {"type": "binary", "data": "osOp"}),
    ]
    assert Recording.load(tmp_path / "x").events == recording.events
    recording, _ = record_one(codecs.text, "the frame")
    recording.save(tmp_path / "x")
    assert '"frame"' not in (tmp_path / "x").read_text()
    recording, _ = record_one(codecs.json, '"a"')
    assert recording.lanes["incoming"].events[0].frame == '"a"'


@pytest.mark.usefixtures("read_path")
async def test_both_ends_record_the_frames_of_a_real_connection(
    serve: Serve, tmp_path: Path
) -> None:
    """The client's and the server's recordings have the same frames, on both read paths."""
    recordings: list[Recording] = []

    def echo(conn: Any) -> Any:
        recordings.append(Recording.of(conn))
        return conn.incoming

    port = await serve(rxws.websocket(echo, codec=ticks))
    async with rxws.connect(f"ws://127.0.0.1:{port}/", codec=ticks) as conn:
        recordings.append(Recording.of(conn))
        conn.outgoing.on_next(ticks.decode(TICK))
        await conn.incoming.pipe(ops.first())
    for recording in recordings:
        recording.save(tmp_path / "x")
        for lane in ("incoming", "outgoing"):
            loaded = Recording.load(tmp_path / "x")
            assert [event.frame for event in loaded.lanes[lane].events][:1] == [TICK]
            replay = loaded.replay(math.inf, lane=lane, codec=ticks).pipe(ops.first())
            assert replay.run() == ticks.decode(TICK)


def test_a_value_that_needs_a_codec_is_not_replayed_as_text(tmp_path: Path) -> None:
    """A loaded value that JSON cannot represent needs the codec; the error says so."""
    record_one(ticks, TICK)[0].save(tmp_path / "x")
    loaded = Recording.load(tmp_path / "x")
    with pytest.raises(ValueError, match=r"has only the repr and the frame of Tick.*codec=\.\.\."):
        loaded.replay()
    errors: list[Exception] = []
    clock = Clock()
    loaded.replay(codec=codecs.binary, scheduler=clock).subscribe(on_error=errors.append)
    clock.run(5)
    assert [type(error) for error in errors] == [rxws.DecodeError]


def test_another_peer_codec_encodes_the_recorded_values(tmp_path: Path) -> None:
    """`simulate` with a `peer_codec` encodes the recorded values, if it has them."""
    recording, value = record_one(codecs.json, '{"a":  [1]}')

    def handler(conn: Any) -> None:
        conn.incoming.subscribe()

    sim = simulate(handler, recording, codec=packed, peer_codec=packed)
    assert sim.incoming.values == [value]
    record_one(ticks, TICK)[0].save(tmp_path / "x")
    sim = simulate(handler, Recording.load(tmp_path / "x"), peer_codec=codecs.json)
    assert sim.incoming.values == [TICK]


def test_a_file_without_frames_is_loaded(tmp_path: Path) -> None:
    """A file of an older version has no frames: its values are replayed, but not simulated."""
    line = '{"t": 0, "lane": "incoming", "dir": "in", "type": "repr", "data": "Tick(1)"}'
    (tmp_path / "x").write_text(line)
    loaded = Recording.load(tmp_path / "x")
    assert loaded.replay(math.inf).run() == "Tick(1)"
    with pytest.raises(ValueError, match=r"neither the value nor the frame of Tick\(1\)"):
        simulate(lambda conn: conn.incoming, loaded)


def test_a_replay_emits_copies() -> None:
    """A subscriber that changes a replayed value changes neither the record nor another replay."""
    recording = recorded((1, "next", [1]), (2, "next", [2]))
    for _ in range(2):
        clock = Clock()
        seen: list[list[int]] = []
        recording.replay(scheduler=clock).subscribe(seen.append)
        clock.run(3)
        assert seen == [[1], [2]]
        for value in seen:
            value.append(9)


def test_an_event_is_a_named_tuple() -> None:
    """An event compares as a tuple with six fields."""
    recording = recorded((1, "next", "a"))
    assert recording.events == [Event(1, "incoming", "in", "next", "a", None)]
    kinds: Callable[[Event], str] = lambda event: event.type  # noqa: E731 # typed
    assert list(map(kinds, recording.events)) == ["next"]
