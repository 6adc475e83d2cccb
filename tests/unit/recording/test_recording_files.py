"""Recordings as files, and played again."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws import Close, ConnectionClosed, Recording
from rxws._core.loop_scheduler import LoopScheduler
from rxws._recording.jsonl import Event, RecordedError, RecordedValue
from rxws.testing import Clock, Timeline, marbles


def recorded(*events: tuple[float, str, Any], lane: str = "incoming", keep: int = 99) -> Recording:
    """A recording with these events on one lane."""
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
def test_a_file_gives_back_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, tuple[str, Any]]]
) -> None:
    """All that JSON has, text, bytes, closes and ends: the same, in the same order."""
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
def test_other_values_are_written_as_their_repr(tmp_path: Path, value: Any) -> None:
    """And stay that text when they are written again."""
    recorded((0, "next", value)).save(tmp_path / "one")
    [event] = Recording.load(tmp_path / "one").events
    assert isinstance(event.data, RecordedValue)
    assert str(event.data) == repr(event.data) == repr(value)
    Recording.load(tmp_path / "one").save(tmp_path / "two")
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()


def test_values_that_cannot_even_be_shown_are_written(tmp_path: Path) -> None:
    """A recording is not lost for one of them."""

    class Broken:
        def __repr__(self) -> str:
            raise KeyError("mine")

    recorded((0, "next", Broken())).save(tmp_path / "one")
    [event] = Recording.load(tmp_path / "one").events
    assert "Broken object" in event.data


def test_other_errors_are_written_as_text(tmp_path: Path) -> None:
    """With their type."""
    recorded((1, "error", KeyError("k"))).save(tmp_path / "one")
    [event] = Recording.load(tmp_path / "one").events
    assert isinstance(event.data, RecordedError)
    assert str(event.data) == "KeyError: 'k'"


def test_a_file_is_lines_of_json(tmp_path: Path) -> None:
    """With the five keys that tools may count on."""
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


def test_what_was_dropped_and_what_is_empty_is_written(tmp_path: Path) -> None:
    """A lane that had nothing to tell is there again, and the count of what is missing."""
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
        (b"\xff\xfe", "utf-8"),
        (b"[" * 100_000, ""),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: bytes, said: str) -> None:
    """With its number and what it says."""
    path = tmp_path / "bad.jsonl"
    path.write_bytes(GOOD.encode() + b"\n" + line + b"\n")
    with pytest.raises(ValueError, match=r"bad\.jsonl, line 3 is not a recorded event") as caught:
        Recording.load(path)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 600


def test_a_file_that_is_not_there_is_told_as_ever(tmp_path: Path) -> None:
    """By `FileNotFoundError`."""
    with pytest.raises(FileNotFoundError):
        Recording.load(tmp_path / "none")


# --- replay ---------------------------------------------------------------------------------------


def played(recording: Recording, **options: Any) -> Timeline:
    """What a replay tells on a clock of its own."""
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
def test_a_replay_tells_all_again_at_its_times(end: str | None, expected: str) -> None:
    """With its end; a lane that had none completes behind the last event."""
    events = FLOW if end is None else (*FLOW, (5.0, end, KeyError("k") if end == "error" else None))
    seen = played(recorded(*events))
    # "ab" would be one value
    times = {"--ab----(c,|)": [1, 1.5, 4, 4]}.get(expected, [1, 1.5, 4, 5])
    assert seen.times == times
    assert seen.values == ["a", "b", "c"]
    assert seen[-1].value == marbles(expected[-2] if expected[-1] == ")" else expected[-1])[0].value


@pytest.mark.parametrize(("speed", "factor"), [(1.0, 1.0), (2, 0.5), (0.5, 2.0), (math.inf, 0.0)])
def test_a_replay_may_be_faster(speed: float, factor: float) -> None:
    """Or slower, or leave no time between."""
    assert played(recorded(*FLOW), speed=speed).times == [
        at * factor for at in (1.0, 1.5, 4.0, 4.0)
    ]


def test_a_replay_of_a_loaded_recording_is_that_of_the_first(tmp_path: Path) -> None:
    """Through a file nothing is lost."""
    recording = recorded(*FLOW)
    recording.save(tmp_path / "x")
    assert played(Recording.load(tmp_path / "x")) == played(recording)


def test_what_was_dropped_is_no_time_to_wait() -> None:
    """A recording of the last seconds of a long session begins with them."""
    events = [(float(at), "next", at) for at in range(100, 110)]
    assert played(recorded(*events, keep=3)).times == [0, 1, 2, 2]


def test_a_replay_has_a_lane_and_a_speed() -> None:
    """Mistakes are told when it is made."""
    recording = recorded(*FLOW)
    with pytest.raises(KeyError, match="no lane 'x': the recording has"):
        recording.replay(lane="x")
    for speed in (0, -1, math.nan):
        with pytest.raises(ValueError, match="use a number above 0"):
            recording.replay(speed)


def test_a_replay_is_cold_and_ends_when_it_is_left() -> None:
    """Each who subscribes gets it from the start; disposed, it takes no more time."""
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


def test_a_late_timer_does_not_delay_what_follows() -> None:
    """Each event has its time from the start."""
    clock = Clock()
    seen: list[float] = []

    def slow(value: Any) -> None:
        seen.append(clock.time)
        clock.sleep(1.0 if value == "a" else 0)

    recorded(*FLOW).replay(scheduler=clock).subscribe(slow)
    clock.run(10)
    assert seen == [1, 2, 4]


async def test_a_replay_runs_on_an_event_loop() -> None:
    """That of the subscriber."""
    done = asyncio.get_running_loop().create_future()
    got: list[Any] = []
    recorded(*FLOW).replay(speed=100).subscribe(
        got.append, on_completed=lambda: done.set_result(None), scheduler=LoopScheduler.running()
    )
    async with asyncio.timeout(20):
        await done
    assert got == ["a", "b", "c"]


def test_without_a_scheduler_it_runs_on_a_thread() -> None:
    """RxPY's own, as all its timers."""
    assert recorded(*FLOW).replay(speed=1000).run() == "c"


def test_an_event_is_what_it_says() -> None:
    """A value with five fields."""
    recording = recorded((1, "next", "a"))
    assert recording.events == [Event(1, "incoming", "in", "next", "a")]
    kinds: Callable[[Event], str] = lambda event: event.type  # noqa: E731 # typed
    assert list(map(kinds, recording.events)) == ["next"]
