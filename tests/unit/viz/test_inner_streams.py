"""Observables of Observables in a chain: what is recorded, and that it changes nothing."""

from __future__ import annotations

import gc
import operator
import re
import weakref
from collections.abc import Callable
from itertools import chain
from typing import Any

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ops
from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase
from reactivex.disposable import CompositeDisposable, Disposable
from reactivex.subject import BehaviorSubject, ReplaySubject, Subject

from rxws import Recording
from rxws._recording.followed import followed, label_of
from rxws._recording.inner import InnerLanes
from rxws.testing import Clock
from rxws.viz import View, watch
from rxws.viz.flow_view.inputs import follow_inputs
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject

Step = Callable[[rx.Observable[Any]], rx.Observable[Any]]


def lanes(recording: Recording, role: str) -> dict[str, list[tuple[float, str, Any]]]:
    """Return the events of the inner lanes with this role, by lane."""
    return {
        name: [(round(entry.t, 3), entry.type, entry.data) for entry in lane.entries]
        for name, lane in recording.lanes.items()
        if lane.nesting is not None and lane.nesting.role == role
    }


def run(
    clock: Clock, source: Subject[Any], *values: Any, each: float = 1.0, end: bool = True
) -> None:
    """Push values at intervals, and then the end."""
    for value in values:
        source.on_next(value)
        clock.run(each)
    if end:
        source.on_completed()


# --- what is recorded -----------------------------------------------------------------------------


def test_a_group_has_its_key_and_a_lane() -> None:
    """A group is recorded as its key, and its values in a lane of its own, from its start on."""
    clock, source = Clock(), Subject[str]()
    view = watch(source, ("groups", ops.group_by(lambda s: s[0])), ops.merge_all(), scheduler=clock)
    run(clock, source, "a1", "b1", "a2")
    groups = [entry for entry in view.recording.lanes["groups"].entries if entry.type == "next"]
    assert [str(entry.data) for entry in groups] == ["a", "b"]
    assert lanes(view.recording, "inner") == {
        "groups inner 1": [
            (0, "subscribed", "a"),
            (0, "next", "a1"),
            (2, "next", "a2"),
            (3, "completed", None),
        ],
        "groups inner 2": [(1, "subscribed", "b"), (1, "next", "b1"), (3, "completed", None)],
    }
    assert "object at 0x" not in view.svg() + view.text()
    assert repr(view) == "<View source 3, groups 2, merge_all 3, ended>"


def test_what_a_function_of_flat_map_returns_has_a_lane() -> None:
    """A lane shows what the function of `flat_map` made from a value, and names the value."""
    clock, source = Clock(), Subject[str]()
    view = watch(
        source,
        ops.group_by(lambda s: s[0]),
        ops.flat_map(lambda group: group.pipe(ops.map(str.upper), ops.delay(0.25))),
        scheduler=clock,
    )
    run(clock, source, "a1")
    clock.run(1)
    assert lanes(view.recording, "input") == {
        "flat_map input 1": [
            (0, "subscribed", "from a"),
            (0.25, "next", "A1"),
            (1.25, "completed", None),
        ]
    }


def test_an_observable_has_the_label_of_the_value_that_it_was_made_from() -> None:
    """An Observable without a key is labelled with the value that was passing above."""
    clock, source = Clock(), Subject[str]()
    view = watch(source, ops.map(lambda s: rx.of(s, s)), ops.switch_latest(), scheduler=clock)
    run(clock, source, "red", "blue")
    made = [entry.data for entry in view.recording.lanes["map"].entries if entry.type == "next"]
    assert [str(each) for each in made] == ["red", "blue"]


def test_other_observables_are_numbered() -> None:
    """An Observable that no value has caused is numbered."""
    clock, source = Clock(), Subject[int]()
    recording = Recording(scheduler=clock)
    windows = source.pipe(ops.window_with_time(1.0), recording.tap("windows"), ops.merge_all())
    windows.subscribe(scheduler=clock)
    run(clock, source, 1, each=1.5)
    assert [
        str(event.data) for event in recording.lanes["windows"].events if event.type == "next"
    ] == ["#1", "#2"]


def test_one_lane_shows_streams_that_follow_each_other() -> None:
    """A stream gets the lane of one that has ended; a replaced stream was disposed."""
    clock, source = Clock(), Subject[str]()
    view = watch(
        source,
        ops.map(lambda s: rx.timer(1.5).pipe(ops.map(lambda _: s * 2))),
        ops.switch_latest(),
        scheduler=clock,
    )
    run(clock, source, "a", "b", each=1)
    clock.run(1)
    assert lanes(view.recording, "inner") == {
        "map inner 1": [
            (0, "subscribed", "a"),
            (1, "disposed", None),
            (1, "subscribed", "b"),
            (2.5, "next", "bb"),
            (2.5, "completed", None),
        ]
    }


def test_an_error_of_an_inner_stream_is_recorded() -> None:
    """A lane ends with the error that its stream fails with; the others are disposed."""
    clock, source = Clock(), Subject[int]()
    view = watch(
        source,
        ops.flat_map(lambda n: rx.timer(float(n)).pipe(ops.map(lambda _: 1 // (n - 1)))),
        scheduler=clock,
    )
    run(clock, source, 5, 1, each=0, end=False)
    clock.run(2)
    slow, failed = lanes(view.recording, "input").values()
    assert slow[-1] == (1, "disposed", None)
    assert failed[-1][1] == "error"
    assert isinstance(failed[-1][2], ZeroDivisionError)


SECOND = [
    "amb",
    "buffer",
    "catch",
    "combine_latest",
    "concat",
    "fork_join",
    "merge",
    "on_error_resume_next",
    "sample",
    "sequence_equal",
    "skip_until",
    "take_until",
    "window",
    "with_latest_from",
    "zip",
    *(["zip_latest"] if hasattr(ops, "zip_latest") else []),  # not in old versions of RxPY
]


@pytest.mark.parametrize("name", SECOND)
def test_a_second_source_has_a_lane(name: str) -> None:
    """What an operator subscribes to besides its source has a lane, whatever the operator."""
    clock = Clock()
    first = rx.throw(ValueError()) if name == "catch" else rx.empty()
    if name not in ("catch", "concat", "on_error_resume_next"):
        first = rx.never()
    operator: Any = getattr(ops, name)
    view = watch(first, operator(rx.of(1, 2)), scheduler=clock)
    clock.run(1)
    [[*_, (_, kind, label)]] = [
        [event for event in events if event[1] == "subscribed"]
        for events in lanes(view.recording, "input").values()
    ]
    assert (kind, label) == ("subscribed", "source 2")


MAPPERS: dict[str, Step] = {
    "flat_map": ops.flat_map(lambda n: rx.of(n, n)),
    "flat_map_indexed": ops.flat_map_indexed(lambda n, _: rx.of(n, n)),
    "flat_map_latest": ops.flat_map_latest(lambda n: rx.of(n, n)),
    "concat_map": ops.concat_map(lambda n: rx.of(n, n)),
    "switch_map": ops.switch_map(lambda n: rx.of(n, n)),
    "expand": ops.expand(lambda n: rx.empty()),
    "to one Observable": ops.flat_map(rx.of(7)),
}


@pytest.mark.parametrize("name", MAPPERS)
def test_each_operator_with_a_function_has_lanes(name: str) -> None:
    """What the function of an operator returns has a lane, whatever the operator."""
    clock = Clock()
    view = watch(rx.of(7), MAPPERS[name], scheduler=clock)
    clock.run(1)
    [[first, *_]] = lanes(view.recording, "input").values()
    assert first[2] in ("from 7", "source 2")


def test_sources_are_numbered_and_channels_named() -> None:
    """The further sources of an operator are numbered from 2 on; a channel has its key."""
    client = VirtualSubject()
    acme = client.feed.channel("sub", "unsub", bool, key="ACME")
    view = watch(rx.never(), ops.merge(rx.never(), acme, rx.never()), scheduler=client.clock)
    client.run()
    assert [events[0][2] for events in lanes(view.recording, "input").values()] == [
        "source 2",
        "ACME",
        "source 4",
    ]
    assert acme.subscriptions == 1
    view.stop()
    client.run()
    assert acme.subscriptions == 0


@pytest.mark.parametrize("operator", [ops.publish(), ops.replay(1), ops.do(Subject[int]())])
def test_a_subject_that_an_operator_pushes_into_has_no_lane(operator: Step) -> None:
    """A Subject that an operator pushes into is no source of it."""
    recording = watch(rx.of(1), operator, ("end", ops.filter(bool)), scheduler=Clock()).recording
    assert lanes(recording, "input") == {}


def test_lanes_are_bounded() -> None:
    """Six streams have lanes of their own at a time; the rest shares one, and is counted."""
    clock, source = Clock(), Subject[int]()
    view = watch(source, ops.group_by(lambda n: n % 500), ops.merge_all(), scheduler=clock)
    run(clock, source, *range(1000), each=0.01, end=False)
    found = [lane for lane in view.recording.lanes.values() if lane.nesting is not None]
    assert [lane.nesting.inners for lane in found if lane.nesting] == [1] * 6 + [494]
    assert "\N{MULTIPLICATION SIGN}494 more" in view.recording.svg()
    assert "\N{MULTIPLICATION SIGN}494 more" in view.recording.text()
    source.on_completed()
    assert all(lane.ended for lane in found)


def test_many_short_streams_need_one_lane() -> None:
    """Any number of streams that follow each other share one lane, which keeps the latest."""
    clock, source = Clock(), Subject[int]()
    recording = Recording(scheduler=clock, keep=10)
    steps = (ops.map(rx.of), recording.tap("made"), ops.merge_all())
    source.pipe(*steps).subscribe(scheduler=clock)
    run(clock, source, *range(1000), each=0.01, end=False)
    [name] = lanes(recording, "inner")
    assert len(recording.lanes[name]) == 10
    assert "1000 streams" in recording.text()
    assert "of 1000 ev" in recording.svg()


def test_a_busy_group_keeps_its_label() -> None:
    """The label of a lane stays when the event with which it began is no longer kept."""
    clock, source = Clock(), Subject[int]()
    recording = Recording(scheduler=clock, keep=10)
    steps: Any = (ops.group_by(lambda _: "busy"), recording.tap("groups"), ops.merge_all())
    source.pipe(*steps).subscribe(scheduler=clock)
    run(clock, source, *range(100), each=0.01, end=False)
    assert "└ busy" in recording.text()


def test_a_key_that_returns_gets_its_lane_again() -> None:
    """A group whose key was seen before gets the lane of that key."""
    clock, source = Clock(), Subject[str]()
    view = watch(
        source,
        ops.group_by_until(lambda s: s, None, lambda _: rx.timer(0.5)),
        ops.merge_all(),
        scheduler=clock,
    )
    run(clock, source, "a", "b", "a", each=1)
    labels = [
        [data for _, kind, data in events if kind == "subscribed"]
        for events in lanes(view.recording, "inner").values()
    ]
    assert labels == [["a", "a"], ["b"]]


def test_a_second_subscriber_is_not_recorded() -> None:
    """If an operator subscribes twice to a group, its values are recorded once."""
    clock, source = Clock(), Subject[int]()

    def subscribe(group: Any) -> None:
        group.subscribe()

    def first(groups: Any) -> Any:
        return groups.pipe(ops.do_action(subscribe))

    view = watch(source, ops.group_by(lambda _: "all"), first, ops.merge_all(), scheduler=clock)
    run(clock, source, 1, end=False)
    assert [entry.data for entry in view.recording.lanes["merge_all"].entries] == [1]
    [events] = lanes(view.recording, "inner").values()
    assert [kind for _, kind, _ in events] == ["subscribed", "next"]


def test_a_view_ends_although_an_inner_lane_has_not() -> None:
    """A recording is over when all taps have ended; groups that nobody ends do not count."""
    recording, source = Recording(), Subject[int]()
    view = watch(recording)
    kept: list[rx.Observable[Any]] = []
    source.pipe(ops.map(lambda _: rx.never()), recording.tap("made")).subscribe(kept.append)
    source.on_next(1)
    subscription = kept[0].subscribe()
    source.on_completed()
    view._check()
    assert view.state == "ended"
    subscription.dispose()


def test_a_recording_does_not_keep_observables_alive() -> None:
    """A recording keeps the label of an Observable, but not the Observable."""
    recording, made = Recording(), Subject[int]()
    alive = weakref.ref(made)
    rx.of(made).pipe(recording.tap("made"), ops.merge_all()).subscribe().dispose()
    del made
    gc.collect()
    assert alive() is None
    assert len(recording.lanes["made"]) == 2


# --- nothing changes ------------------------------------------------------------------------------


class Hot(Subject[Any]):
    """A subject that logs its subscriptions, their schedulers and when they are disposed."""

    def __init__(self, name: str, log: Callable[..., None]) -> None:
        super().__init__()
        self.name = name
        self.log = log

    def _subscribe_core(
        self, observer: ObserverBase[Any], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        self.log(self.name, "subscribed", type(scheduler).__name__)
        subscription = super()._subscribe_core(observer, scheduler)
        return CompositeDisposable(
            subscription, Disposable(lambda: self.log(self.name, "disposed"))
        )


def size(value: Any) -> int:
    """Return a small number for any value."""
    return sum(map(ord, shown(value)))


def shown(value: Any) -> str:
    """Return a text that is the same for the same value in another run."""
    if isinstance(value, rx.GroupedObservable):
        return f"group {value.key}"
    return "stream" if isinstance(value, rx.Observable) else re.sub(" at 0x\\w+", "", repr(value))


def failing(value: Any) -> rx.Observable[Any]:
    """Return a stream for most values, and raise for the others."""
    if size(value) % 5 == 0:
        raise ValueError("no stream")
    return rx.timer(0.1).pipe(ops.map(lambda _: value))


def taken(group: Any) -> Any:
    """Take two values of a group, with its key."""
    return group.pipe(ops.take(2), ops.map(lambda v: (group.key, v)))


def debounced(group: Any) -> Any:
    """Debounce a group."""
    return group.pipe(ops.debounce(0.15))


def auto_connected(source: Any) -> Any:
    """Connect the source for its first subscriber."""
    return source.auto_connect(1)


STAGES: dict[str, Callable[[Any, Any], tuple[Any, ...]]] = {
    "group_by": lambda *_: (ops.group_by(lambda v: size(v) % 3), ops.merge_all()),
    "group_by, unflattened": lambda *_: (ops.group_by(lambda v: size(v) % 3),),
    "group_by, debounce": lambda *_: (
        ops.group_by(lambda v: size(v) % 2),
        ops.flat_map(debounced),
    ),
    "group_by, take": lambda *_: (
        ops.group_by(lambda v: size(v) % 3),
        ops.flat_map(taken),
    ),
    "group_by_until": lambda a, _: (
        ops.group_by_until(lambda v: size(v) % 2, None, lambda _: a),
        ops.merge_all(),
    ),
    "switch_latest": lambda a, b: (
        ops.map(lambda v: a if size(v) % 2 else b),
        ops.switch_latest(),
    ),
    "distinct streams": lambda a, b: (
        ops.map(lambda v: a if size(v) % 2 else b),
        ops.distinct_until_changed(),
        ops.merge_all(),
    ),
    "one at a time": lambda *_: (
        ops.map(lambda v: rx.of(v, v).pipe(ops.delay(0.15))),
        ops.merge(max_concurrent=1),
    ),
    "flat_map to hot": lambda a, b: (ops.flat_map(lambda v: a if size(v) % 2 else b),),
    "flat_map to list": lambda *_: (ops.flat_map(lambda v: [v, v]),),
    "flat_map to one": lambda a, _: (ops.flat_map(a),),
    "flat_map raises": lambda *_: (ops.flat_map(failing),),
    "flat_map_indexed": lambda *_: (ops.flat_map_indexed(lambda v, i: rx.of(v, i)),),
    "flat_map_latest": lambda *_: (
        ops.flat_map_latest(lambda v: rx.interval(0.1).pipe(ops.take(3))),
    ),
    "concat_map": lambda *_: (ops.concat_map(lambda v: rx.timer(0.15)),),
    "switch_map": lambda a, _: (ops.switch_map(lambda v: a),),
    "expand": lambda *_: (
        ops.take(3),
        ops.map(lambda v: size(v) % 3),
        ops.expand(lambda v: rx.of(v - 1) if v > 0 else rx.empty()),
    ),
    "window": lambda a, _: (ops.window(a), ops.merge_all()),
    "window_with_count": lambda *_: (ops.window_with_count(2), ops.flat_map(ops.to_list())),
    "catch": lambda a, _: (ops.catch(a),),
    "catch with a function": lambda a, _: (ops.catch(lambda error, source: a),),
    "merge": lambda a, b: (ops.merge(a, b),),
    "with_latest_from": lambda a, _: (ops.with_latest_from(a),),
    "combine_latest": lambda a, _: (ops.combine_latest(a),),
    "zip": lambda a, b: (ops.zip(a, b),),
    "concat": lambda a, _: (ops.concat(rx.of(1), a),),
    "take_until": lambda a, _: (ops.take_until(a),),
    "sample": lambda a, _: (ops.sample(a),),
    "amb": lambda a, _: (ops.amb(a),),
    "buffer": lambda a, _: (ops.buffer(a),),
    "multicast": lambda *_: (ops.multicast(Subject()), ops.ref_count()),
    "publish": lambda *_: (ops.publish(), auto_connected),
    "share": lambda *_: (ops.share(),),
    "retry": lambda a, _: (ops.merge(a), ops.retry(2)),
}
EVENT = st.tuples(
    st.sampled_from([0.0, 0.05, 0.1, 0.3]),
    st.sampled_from(["source", "a", "b"]),
    st.sampled_from([*range(6), "completed", "error"]),
)


def outcome(names: list[str], events: list[tuple[float, str, Any]], how: str) -> list[Any]:
    """Run a chain, watched or not, and return all that its sources and its subscriber see."""
    clock = Clock()
    log: list[Any] = []

    def note(*what: Any) -> None:
        log.append((round(clock.to_seconds(clock.now), 6), *what))

    hot = {name: Hot(name, note) for name in ("source", "a", "b")}
    steps: list[Any] = [step for name in names for step in STAGES[name](hot["a"], hot["b"])]
    seen = ops.do_action(
        lambda value: note("next", shown(value)),
        lambda error: note("error", repr(error)),
        lambda: note("completed"),
    )
    end: Callable[[], None]
    if how == "watched":
        view = watch(hot["source"], *steps, seen, scheduler=clock)
        end = view.stop
    else:
        if how == "tapped":
            recording = Recording(scheduler=clock)
            taps = [recording.tap(f"{number}") for number in range(len(steps))]
            steps = list(chain.from_iterable(zip(steps, taps, strict=True)))
        source: Any = hot["source"]
        piped = source.pipe(*steps, seen)
        end = piped.subscribe(on_error=lambda _: None, scheduler=clock).dispose
    for wait, target, event in events:
        if event == "completed":
            hot[target].on_completed()
        elif event == "error":
            hot[target].on_error(KeyError(target))
        else:
            hot[target].on_next(event)
        clock.run(wait)
    clock.run(1)
    end()
    return log


@pytest.mark.promise("watched")
@pytest.mark.parametrize("how", ["watched", "tapped"])
@given(
    names=st.lists(st.sampled_from(sorted(STAGES)), min_size=1, max_size=3),
    events=st.lists(EVENT, max_size=12),
)
def test_watching_inner_streams_changes_nothing(
    how: str, names: list[str], events: list[tuple[float, str, Any]]
) -> None:
    """Values, order, times, errors, schedulers and subscriptions are as without watching."""
    assert outcome(names, events, how) == outcome(names, events, "plain")


@pytest.mark.parametrize("name", sorted(STAGES))
def test_each_kind_of_chain_is_unchanged(name: str) -> None:
    """The property holds for one lively flow through each kind of chain."""
    events: list[tuple[float, str, Any]] = [
        *((0.1, target, number) for number in range(6) for target in ("source", "a", "b")),
        (0.1, "a", "error" if name in ("catch", "retry") else "completed"),
        (0.5, "source", "completed"),
        (0.5, "b", 1),
    ]
    plain = outcome([name], events, "plain")
    assert any(each[1] == "next" for each in plain)
    assert outcome([name], events, "watched") == plain
    assert outcome([name], events, "tapped") == plain


class Log:
    """Records a subscription in a list."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def next(self, value: Any) -> None:
        """Log a value."""
        self.seen.append(value)

    def end(self, kind: str, error: Exception | None = None) -> None:
        """Log an end."""
        if "end" not in self.seen:
            self.seen += ["end", kind]


def test_a_followed_subject_is_the_subject() -> None:
    """A followed Observable equals the original, and has its type, its state and its methods."""
    subject, log = BehaviorSubject("now"), Log()
    other = followed(subject, "label", lambda: log)
    assert isinstance(other, BehaviorSubject)
    assert label_of(other) == "label"
    assert other == subject
    assert subject == other
    assert len({subject, other}) == 1
    assert other != BehaviorSubject("now")
    assert repr(other) == repr(subject)
    got: list[str] = []
    subscription = other.subscribe(got.append)
    other.on_next("later")
    assert subject.value == other.value == "later"
    subscription.dispose()
    assert subject.observers == []
    subject.on_completed()
    assert other.is_stopped
    assert got == ["now", "later"]
    assert log.seen == ["now", "later", "end", "disposed"]


def test_a_followed_stream_of_a_connection_counts_as_one_subscriber() -> None:
    """A followed stream of rxws has the state of the original, which has slots."""
    virtual, log = VirtualSession(), Log()
    incoming: Any = followed(virtual.conn.incoming, "incoming", lambda: log)
    got: list[str] = []
    subscription = incoming.subscribe(got.append)
    virtual.peer.message("hello")
    virtual.settle()
    assert (incoming.subscriptions, got, log.seen) == (1, ["hello"], ["hello"])
    subscription.dispose()
    assert not virtual.conn.incoming.observed  # type: ignore[attr-defined] # streams of rxws have it


def test_an_observer_of_a_followed_observable_gets_all() -> None:
    """Values and the end reach an observer that is an object, and one that has no callbacks."""
    log, got = Log(), ReplaySubject[int]()
    other = followed(rx.of(1, 2), "", lambda: log)
    other.subscribe(got)
    assert got.pipe(ops.to_list()).run() == [1, 2]
    assert log.seen == [1, 2, "end", "completed"]
    other.subscribe()
    assert log.seen[4:] == [1, 2]


def test_a_group_that_passes_two_taps_has_one_lane() -> None:
    """An Observable is followed from the first tap on that it passes; both taps label it."""
    recording, source = Recording(), Subject[str]()
    chain_of: Any = (
        ops.group_by(lambda s: s),
        recording.tap("groups"),
        ops.filter(lambda group: bool(group)),
        recording.tap("kept"),
        ops.merge_all(),
    )
    rx.pipe(source, *chain_of).subscribe()
    source.on_next("a")
    assert [str(recording.lanes[name].events[0].data) for name in ("groups", "kept")] == ["a", "a"]
    assert list(recording.lanes) == ["groups", "kept", "groups inner 1"]


def test_an_error_without_a_subscriber_for_it_is_raised() -> None:
    """Without `on_error`, a followed Observable raises an error as others do."""
    with pytest.raises(ValueError, match="nobody"):
        followed(rx.throw(ValueError("nobody")), "", Log).subscribe()


def test_a_subscription_that_fails_has_an_end() -> None:
    """If subscribing raises, the record ends."""

    def refuse(*_: Any) -> DisposableBase:
        raise KeyboardInterrupt

    log = Log()
    with pytest.raises(KeyboardInterrupt):
        followed(rx.create(refuse), "", lambda: log).subscribe()
    assert log.seen == ["end", "disposed"]


class Finalized(Subject[Any]):
    """A subject that frees something at the end of its life."""

    def __del__(self) -> None: ...


class Final(Subject[Any]):
    """A subject that has no subclasses."""

    def __init_subclass__(cls) -> None:
        raise TypeError("no subclasses")


@pytest.mark.parametrize("kind", [Finalized, Final])
def test_a_type_that_cannot_be_followed_passes_as_it_is(kind: type[Subject[Any]]) -> None:
    """An Observable whose type allows no copy passes unchanged, and its values are not recorded."""
    clock, subject = Clock(), kind()
    recording = Recording(scheduler=clock)
    passed: list[Any] = []
    rx.of(subject).pipe(recording.tap("made"), ops.do_action(passed.append)).subscribe()
    assert passed[0] is subject
    assert str(recording.lanes["made"].events[0].data) == kind.__name__


def test_an_operator_that_is_built_in_another_way_is_unchanged() -> None:
    """Operators that are not RxPY's, or store their arguments in another way, run as they are."""
    inner = InnerLanes(Recording(), "step", "input")

    def own(source: rx.Observable[Any]) -> rx.Observable[Any]:
        return source.pipe(ops.merge(rx.of(1)))

    def unset(source: rx.Observable[Any]) -> rx.Observable[Any]:
        return other(source)  # noqa: F821 # it was deleted

    other: Step = own
    unset.__module__ = "reactivex.operators"
    del other
    assert follow_inputs(own, inner) is own
    assert follow_inputs(unset, inner) is unset


def test_an_operator_keeps_its_state() -> None:
    """An operator that keeps state between chains does so if one of them is watched."""
    counts: list[int] = []

    def make(other: rx.Observable[Any]) -> Step:
        count = 0

        def merge(source: rx.Observable[Any]) -> rx.Observable[Any]:
            nonlocal count
            count += 1
            counts.append(count)
            return rx.merge(source, other)

        merge.__module__, merge.__qualname__ = "reactivex.operators", "merge_.<locals>.merge"
        return merge

    operator = make(rx.never())
    followed_operator = follow_inputs(operator, InnerLanes(Recording(), "merge", "input"))
    assert followed_operator is not operator
    for each in (operator, followed_operator, operator):
        each(rx.never())
    assert counts == [1, 2, 3]


def test_inner_streams_of_a_connection_keep_its_scheduler() -> None:
    """Groups of a connection that pass a tap run time operators in the connection's time."""
    virtual, got = VirtualSession(), list[str]()
    recording = Recording.of(virtual.conn)
    first = operator.itemgetter(0)
    steps: list[Any] = [
        ops.group_by(first),
        recording.tap("groups"),
        ops.flat_map(debounced),
        ops.publish(),
        recording.tap("published"),
        ops.ref_count(),
    ]
    virtual.conn.incoming.pipe(*steps).subscribe(got.append)
    for text in ("a1", "a2", "b1"):
        virtual.peer.message(text)
    virtual.run(1)
    assert got == ["a2", "b1"]
    assert [event.t for event in recording.lanes["published"].events] == [0.15, 0.15]
    assert [events[1:] for events in lanes(recording, "inner").values()] == [
        [(0, "next", "a1"), (0, "next", "a2")],
        [(0, "next", "b1")],
    ]


def test_a_second_source_keeps_its_scheduler() -> None:
    """A stream of a connection that is a second source runs in the connection's time."""
    virtual = VirtualSession()
    calm: Any = virtual.conn.incoming.pipe(ops.debounce(0.15))
    view = watch(rx.never(), ops.merge(calm), scheduler=virtual.clock)
    virtual.settle()
    virtual.peer.message("a")
    virtual.run(1)
    assert [kind for _, kind, _ in lanes(view.recording, "input")["merge input 1"]] == [
        "subscribed",
        "next",
    ]


# --- files and pictures ---------------------------------------------------------------------------


@pytest.fixture
def nested() -> View:
    """Two groups, a second source, and streams that replace each other."""
    clock, source = Clock(), Subject[str]()
    view = watch(
        source,
        ("groups", ops.group_by(lambda s: s[0])),
        ops.merge_all(),
        ops.merge(rx.timer(0.7).pipe(ops.map(lambda _: "tick"))),
        ops.map(lambda s: rx.timer(0.4).pipe(ops.map(lambda _: s.upper()))),
        ops.switch_latest(),
        title="nested",
        scheduler=clock,
    )
    clock.run(0)
    run(clock, source, "a1", "b1", "a2", each=0.5)
    clock.run(1)
    return view


def test_text_shows_inner_lanes(nested: View) -> None:
    """The text form has a line for each inner lane, next to that of its stream."""
    assert nested.text(44).splitlines() == [
        "nested",
        "source        a1──────────b1───────────a2──────────┤  3 ev",
        "groups        a───────────b────────────────────────┤  2 ev",
        "└ a           a1───────────────────────a2──────────┤  2 ev",
        "└ b                       b1───────────────────────┤  1 ev",
        "merge_all     a1──────────b1───────────a2──────────┤  3 ev",
        "┌ source 2    ├────────────────•┤                     1 ev",
        "merge         a1──────────b1───tick────a2──────────┤  4 ev",
        "map           a1──────────b1───tick────a2──────────┤  4 ev",
        "└ 4 streams   ├─────────•┤├────├───────├─────────•┤   2 ev",
        "switch_latest ──────────A1───────────────────────•─┤  2 ev",
        "              ╵0 s        ╵0.5 s       ╵1.0 s",
    ]


def test_a_file_keeps_inner_lanes(nested: View, tmp_path: Any) -> None:
    """A loaded recording has the same pictures."""
    nested.recording.save(tmp_path / "nested.jsonl")
    loaded = Recording.load(tmp_path / "nested.jsonl")
    loaded.title = "nested"
    for name, lane in nested.recording.lanes.items():
        loaded.lane(name).detail = lane.detail  # not in the file
    assert loaded.text() == nested.recording.text()
    assert loaded.svg() == nested.recording.svg()
    assert loaded.replay(100, lane="groups inner 1").pipe(ops.to_list()).run() == ["a1", "a2"]
