"""What a recording knows about the values that a step passed on or dropped."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
import reactivex as rx
from hypothesis import given, settings
from reactivex import Observable
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws import Recording
from rxws._recording.diagram import Step
from rxws._recording.passage import Passage
from rxws.testing import Clock
from rxws.viz import stop_all, watch
from rxws.viz.flow_view.operator_names import step_of
from support.virtual.session import VirtualSession

KEYS = [(0.1, "r"), (0.2, "re"), (0.3, "rea"), (0.9, "reac"), (1.0, "react"), (1.7, "reacti")]

Operator = Callable[[Observable[Any]], Observable[Any]]


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Stop all views after each test."""
    yield
    stop_all()


def play(
    recording: Recording, clock: Clock, source: Subject[Any], items: list[tuple[float, Any]]
) -> None:
    """Emit the items at their times, and complete a second later."""
    for t, value in items:
        clock.run(t - clock.time)
        source.on_next(value)
        recording.picture()
    clock.run(1.0)
    source.on_completed()


def watched(operator: Operator, items: list[tuple[float, Any]] = KEYS) -> Recording:
    """Return the recording of a chain of one step."""
    clock, source = Clock(), Subject[Any]()
    view = watch(source, operator, scheduler=clock)
    play(view.recording, clock, source, items)
    return view.recording


def tapped(operator: Operator, items: list[tuple[float, Any]] = KEYS) -> Recording:
    """Return the recording of taps before and after an operator that the recording cannot know."""
    clock, source = Clock(), Subject[Any]()
    recording = Recording(scheduler=clock)
    chain = source.pipe(recording.tap("before"), operator, recording.tap("after"))
    chain.subscribe(on_error=lambda _: None, scheduler=clock)
    play(recording, clock, source, items)
    return recording


def drops(recording: Recording) -> list[Any]:
    """Return the values of the first lane that the second did not get."""
    track = recording.picture().tracks[0]
    return [mark.data for mark in track.marks if id(mark) in track.drops]


def waits(recording: Recording) -> list[tuple[str, float, float]]:
    """Return the waits of the last lane."""
    return [
        (wait.kind, round(wait.start, 3), round(wait.stop, 3))
        for wait in recording.picture().tracks[-1].waits
    ]


def smooth(source: Observable[Any]) -> Observable[Any]:
    """Debounce, as a user's own operator."""
    return source.pipe(ops.debounce(0.3))


def even(n: int) -> bool:
    return n % 2 == 0


def length_of(word: str) -> int:
    return len(word)


def odd(word: str) -> bool:
    return len(word) % 2 == 1


def total(so_far: int, word: str) -> int:
    return so_far + len(word)


def first(word: str, _: str) -> str:
    return word


def later(word: str) -> Observable[int]:
    return rx.timer(0.1).pipe(ops.map(lambda _: len(word)))


def longer(length: int) -> Callable[[str], bool]:
    return lambda word: len(word) > length


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (ops.debounce(0.3), ["r", "re", "reac"]),
        (ops.throttle_with_timeout(0.3), ["r", "re", "reac"]),
        (ops.throttle_with_mapper(lambda _: rx.timer(0.3)), ["r", "re", "reac"]),
        (ops.sample(0.55), ["r", "re", "reac"]),
        (ops.throttle_first(0.3), ["re", "rea", "react"]),
        (ops.filter(odd), ["re", "reac", "reacti"]),
        (ops.filter(lambda _: False), [word for _, word in KEYS]),
        (ops.map(length_of), []),
        (ops.scan(total, 0), []),
        (ops.skip(2), ["r", "re"]),
        (ops.last(), ["r", "re", "rea", "reac", "react"]),
        (ops.delay(0.15), []),
        (ops.skip_last(2), ["react", "reacti"]),
        (
            rx.compose(ops.map(str.upper), ops.filter(longer(3))),
            ["r", "re", "rea"],
        ),
        (
            rx.compose(ops.filter(longer(1)), ops.debounce(0.3)),
            ["r", "re", "reac"],
        ),
        (smooth, ["r", "re", "reac"]),
    ],
)
def test_a_dropped_value_is_known(operator: Operator, expected: list[str]) -> None:
    """A value is dropped if nothing came out of its step for it."""
    assert drops(watched(operator)) == expected


@pytest.mark.parametrize(
    "operator",
    [
        ops.buffer_with_count(2),
        ops.count(),
        ops.to_list(),
        ops.pairwise(),
        ops.flat_map(later),
        ops.reduce(first),
        rx.compose(ops.map(length_of), ops.debounce(0.3)),
        functools.partial(lambda source: source.pipe(ops.map(length_of), ops.debounce(0.3))),
    ],
)
def test_nothing_is_claimed_about_combined_or_changed_values(operator: Operator) -> None:
    """If values come out changed and later, none of them counts as dropped."""
    assert drops(watched(operator)) == []
    assert drops(tapped(operator)) == []


def test_debounce_waits_for_silence() -> None:
    """Each value starts a wait, which the next value restarts, or at whose end it comes out."""
    assert waits(watched(ops.debounce(0.3))) == [
        ("restarted", 0.1, 0.2),
        ("restarted", 0.2, 0.3),
        ("silence", 0.3, 0.6),
        ("restarted", 0.9, 1.0),
        ("silence", 1.0, 1.3),
        ("silence", 1.7, 2.0),
    ]


def test_a_wait_may_end_with_the_input() -> None:
    """When the input completes, debounce emits the value that it holds."""
    assert waits(watched(ops.debounce(5.0), [(0.1, "a")])) == [("flushed", 0.1, 1.1)]


def test_the_windows_of_sample_and_throttle_first() -> None:
    """The window of sample ends with its value; that of throttle_first begins with it."""
    items = [(0.1, "a"), (0.2, "b")]
    assert waits(watched(ops.sample(0.5), items)) == [("window", 0.0, 0.5)]
    assert waits(watched(ops.throttle_first(0.5), items)) == [("closed", 0.1, 0.6)]
    assert waits(watched(ops.sample(rx.timer(0.5)), items)) == [("held", 0.2, 0.5)]


def test_the_silence_before_a_timeout() -> None:
    """The silence that made a timeout fail is known; other silences are not drawn."""
    assert waits(watched(ops.timeout(0.5), KEYS[:3])) == [("silence", 0.3, 0.8)]
    assert waits(watched(ops.timeout(5.0))) == []


def test_a_slow_function_is_no_wait() -> None:
    """The time that a function of `map` takes is not drawn as a wait."""
    clock, source = Clock(), Subject[str]()

    def slow(value: str) -> str:
        clock.run(0.1)
        return value

    view = watch(source, ops.map(slow), scheduler=clock)
    play(view.recording, clock, source, KEYS[:1])
    assert waits(view.recording) == []


def test_taps_are_compared_by_value() -> None:
    """Between taps a value that comes out is known, and those before it were dropped."""
    recording = tapped(ops.debounce(0.3))
    assert drops(recording) == ["r", "re", "reac"]
    assert waits(recording) == [("held", 0.3, 0.6), ("held", 1.0, 1.3), ("held", 1.7, 2.0)]


def test_records_are_compared_by_value() -> None:
    """Copies of a dict are equal."""
    items = [(0.1, {"n": 1}), (0.2, {"n": 2}), (1.0, float("nan"))]
    assert drops(tapped(ops.debounce(0.3), items)) == [{"n": 1}]


def test_values_that_cannot_be_compared_end_the_claims() -> None:
    """If a value between taps cannot be compared, nothing counts as dropped; otherwise it does."""

    class Odd:
        def __eq__(self, other: object) -> bool:
            raise RuntimeError("never")

        __hash__ = object.__hash__

    items = [(0.1, "a"), (0.2, "b"), (1.0, Odd()), (2.0, Odd())]
    assert drops(tapped(ops.debounce(0.3), items)) == []
    assert drops(watched(ops.debounce(0.3), items)) == ["a"]


def test_a_tap_is_linked_to_incoming() -> None:
    """A tap on a connection's messages is compared with them."""
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn)
    virtual.conn.incoming.pipe(
        ops.filter(lambda word: word != "b"), recording.tap("kept")
    ).subscribe()
    virtual.peer.message("a", "b", "c")
    virtual.settle()
    assert drops(recording) == ["b"]


def test_a_tap_of_two_streams_is_not_linked() -> None:
    """A tap behind two taps, or behind none, claims nothing."""
    recording = Recording()
    one, other = Subject[int](), Subject[int]()
    rx.merge(one.pipe(recording.tap("one")), other.pipe(recording.tap("other"))).pipe(
        ops.filter(bool), recording.tap("both")
    ).subscribe()
    for n in range(3):
        one.on_next(n)
        other.on_next(n)
    assert [track.step for track in recording.picture().tracks] == [None, None, None]
    assert drops(recording) == []


def test_a_value_that_one_of_two_steps_passed_on_is_not_dropped() -> None:
    """A value counts as dropped if no step below passed it on."""
    recording, source = Recording(), Subject[int]()
    shared = source.pipe(recording.tap("source"), ops.share())
    shared.pipe(ops.filter(even), recording.tap("even")).subscribe()
    assert recording.lanes["even"].passage is not None
    for n in range(4):
        source.on_next(n)
    assert drops(recording) == [1]  # 3 is not known to be dropped: nothing has come out after it


def test_a_file_keeps_what_is_known(tmp_path: Path) -> None:
    """A loaded recording has the same dropped values and waits."""
    recording = watched(ops.debounce(0.3))
    recording.save(tmp_path / "typing.jsonl")
    loaded = Recording.load(tmp_path / "typing.jsonl")
    assert (drops(loaded), waits(loaded)) == (drops(recording), waits(recording))
    assert loaded.picture().tracks[1].step == ("source", "debounce", 0.3)


def test_a_step_of_a_file_is_checked(tmp_path: Path) -> None:
    """A line with a bad step is named."""
    file = tmp_path / "bad.jsonl"
    for data in ('{"above": "a", "operator": "b", "seconds": "c"}', '{"above": 1}', "null"):
        file.write_text(f'{{"t": 0, "lane": "x", "dir": null, "type": "step", "data": {data}}}\n')
        with pytest.raises(ValueError, match="line 1 is not a recorded event"):
            Recording.load(file)


OPERATORS: dict[str, Callable[[], Operator]] = {
    "debounce": lambda: ops.debounce(0.3),
    "sample": lambda: ops.sample(0.3),
    "throttle_first": lambda: ops.throttle_first(0.3),
    "filter": lambda: ops.filter(lambda n: n % 3 > 0),
    "delay": lambda: ops.delay(0.2),
    "distinct": lambda: ops.distinct_until_changed(lambda n: n // 2),
    "own": lambda: lambda source: source.pipe(ops.debounce(0.3)),
    "take": lambda: ops.take(3),
}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(OPERATORS)),
    st.lists(st.integers(0, 5), max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
)
def test_watching_changes_nothing_and_claims_what_is_true(
    name: str, gaps: list[int], drawn_at: list[int]
) -> None:
    """A watched chain emits the same, and its dropped values are those that never come out."""
    clock, source = Clock(), Subject[int]()
    plain: list[tuple[float, int]] = []
    view = watch(source, OPERATORS[name](), scheduler=clock)
    source.pipe(OPERATORS[name]()).subscribe(
        lambda n: plain.append((clock.time, n)), scheduler=clock
    )
    sent: list[int] = []
    for n, gap in enumerate(gaps):
        clock.run(gap * 0.11)
        source.on_next(n)
        sent += [n] if view.state == "running" else []
        if n in drawn_at:
            view.svg()
    clock.run(1.0)
    source.on_completed()
    recording = view.recording
    emitted = [(e.t, e.data) for e in recording.lanes[recording.picture().tracks[1].name].events]
    assert [(round(t, 6), n) for t, n in emitted if n is not None] == [
        (round(t, 6), n) for t, n in plain
    ]
    came_out = {n for _, n in plain}
    dropped = drops(recording)
    assert not came_out & set(dropped)
    if name != "own" or plain:
        assert set(dropped) <= set(range(len(gaps))) - came_out
    if name not in ("own", "take"):
        assert dropped == [n for n in range(len(gaps)) if n not in came_out]


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(set(OPERATORS) - {"take"})),
    st.integers(1, 40),
    st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=300),
)
def test_memory_is_bounded_and_missing_events_make_no_claims(
    name: str, keep: int, sends: list[tuple[int, bool]]
) -> None:
    """However many values pass, a bounded number is kept, and no claim is wrong."""
    clock, source = Clock(), Subject[int]()
    recording = Recording(keep=keep, scheduler=clock)
    came_out: set[int] = set()
    view = watch(
        source.pipe(recording.tap("before"), OPERATORS[name](), recording.tap("after")),
        scheduler=clock,
    )
    source.pipe(OPERATORS[name]()).subscribe(came_out.add, scheduler=clock)
    for n, (gap, drawn) in enumerate(sends):
        clock.run(gap * 0.1)
        source.on_next(n)
        if drawn:
            recording.text()
    clock.run(1.0)
    view.stop()
    assert not came_out & set(drops(recording))
    passage = recording.lanes["after"].passage
    assert passage is not None
    assert len(passage.dropped) <= 2 * keep + 256
    assert len(passage.waits) <= 2000
    assert len(recording.picture().tracks[0].drops) <= keep


@pytest.mark.parametrize(
    "operator", [ops.debounce(0.3), ops.filter(odd), ops.throttle_first(0.3), smooth]
)
@pytest.mark.parametrize("draw_first", [True, False])
def test_events_that_were_dropped_before_the_first_drawing(
    operator: Operator, draw_first: bool
) -> None:
    """Of a recording that has lost its oldest events, the rest is known."""
    clock, source = Clock(), Subject[str]()
    recording, came_out = Recording(keep=6, scheduler=clock), list[str]()
    source.pipe(
        recording.tap("before"), operator, ops.do_action(came_out.append), recording.tap("after")
    ).subscribe(scheduler=clock)
    recording.lanes["after"].passage = Passage(step_of(operator, "before"))
    words = ["x" * length for length in range(1, 40)]
    for number, word in enumerate(words):
        source.on_next(word)
        clock.run(0.1 if number % 4 else 0.5)
        if draw_first and number == 3:
            recording.svg()
    clock.run(1.0)
    kept = words[-6:]
    assert drops(recording) == [word for word in kept if word not in came_out]
    source.on_next("y")
    source.on_completed()
    assert drops(recording) == [word for word in kept[2:] if word not in came_out]


def late_and_odd(source: Observable[str]) -> Observable[str]:
    """Emit some of the words later."""
    return source.pipe(ops.delay(0.35), ops.filter(odd))


def test_values_whose_input_is_missing_do_not_end_the_claims() -> None:
    """An output whose input is no longer kept proves nothing about the operator."""
    clock, source = Clock(), Subject[str]()
    recording = Recording(keep=3, scheduler=clock)
    source.pipe(recording.tap("before"), late_and_odd, recording.tap("after")).subscribe(
        scheduler=clock
    )
    for length in range(1, 12):
        source.on_next("x" * length)
        clock.run(0.1)
    recording.svg()
    clock.run(1.0)
    assert [len(word) for word in drops(recording)] == [10]


def test_values_whose_output_is_missing_are_not_dropped() -> None:
    """Nothing is claimed about inputs from before the first output that is kept."""
    recording = Recording(keep=4)
    above, below = recording.lane("before"), recording.lane("after")
    below.passage = Passage(Step("before", "map"))
    for word in "abcdefgh":
        above.record("next", word)
        for _ in range(2):  # two subscribers
            below.record("next", word)
    assert drops(recording) == []


def test_many_values_may_be_inside_a_step() -> None:
    """However many values wait in a step, a bounded number is compared, and none is wrong."""
    recording = tapped(ops.delay(100.0), [(0.001 * n, str(n)) for n in range(1000)])
    assert drops(recording) == []
    recording = tapped(ops.delay(0.9), [(0.001 * n, str(n)) for n in range(1000)])
    assert drops(recording) == []


def test_dropped_values_that_are_no_longer_kept_are_forgotten() -> None:
    """The memory for dropped values is bounded."""
    clock, source = Clock(), Subject[int]()
    view = watch(source, ops.filter(lambda _: False), scheduler=clock)
    for n in range(5000):
        source.on_next(n)
        if n % 50 == 0:
            view.recording.picture()
    passage = view.recording.lanes["filter"].passage
    assert passage is not None
    assert 2000 <= len(passage.dropped) <= 2 * 2000 + 256
