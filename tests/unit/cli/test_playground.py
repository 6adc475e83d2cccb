"""The playground's pipelines and their code, and the limits of what the page gets."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import Observable

import rxws
from rxws.cli.playground._feed import Budget, Feed
from rxws.cli.playground._parameters import Choice, Number, Text
from rxws.cli.playground._pipeline import MAX_STEPS, OPTIONS, Pipeline
from rxws.cli.playground._presets import PRESETS
from rxws.cli.playground._steps import STEPS
from rxws.testing import marbles, simulate

Step = dict[str, Any]

# In virtual time, 0.1 s per character: what a step makes of what the peer sends.
IN_VIRTUAL_TIME: list[tuple[str, Step, str, str]] = [
    ("upper", {}, "a-b-|", "A-B-|"),
    ("reverse", {}, "ab-c-|", "x--c-|"),
    ("double", {}, "1-2-|", "2-4-|"),
    ("keep", {"part": "b"}, "a-b-c-b|", "--b---b|"),
    ("changed", {}, "a-a-b-a|", "a---b-a|"),
    ("count", {}, "a-b-c-|", "1-2-3-|"),
    ("collect", {}, "a-b-|", "a-y-|"),
    ("debounce", {"seconds": 0.3}, "a-b-c-----|", "-------c--|"),
    ("throttle", {"seconds": 0.5}, "a-b-c-d---|", "a-----d---|"),
    ("sample", {"seconds": 0.5}, "a-b-------|", "-----b----|"),
    ("delay", {"seconds": 0.2}, "a-b-----|", "--a-b---|"),
    ("pad", {"size": 128}, "a-|", "p-|"),
    ("buffer", {"seconds": 0.5, "count": 2}, "a-b-c-----|", "--z----c--|"),
    ("ticks", {"seconds": 0.4}, "a-b---b---|", "a-b-t-b-u-|"),
    ("rate_limit", {"messages": 1, "burst": 2}, "a-b-c-------d-|", "a-b---------d-|"),
]
VALUES = {
    "x": "ba",
    "y": "ab",
    "z": "a b",
    "p": "a" + 127 * " ",
    "t": "tick 0",
    "u": "tick 1",
}


def parse(*steps: Step, **options: Any) -> Pipeline:
    return Pipeline.parse(list(steps), options)


def handler_of(code: str) -> Callable[..., Any]:
    """Run a program as if it was imported, and return its handler."""
    names: dict[str, Any] = {"__name__": "copied"}
    exec(compile(code, "copied.py", "exec"), names)
    handler: Callable[..., Any] = names["handler"]
    return handler


def run_in_playground(pipeline: Pipeline) -> Callable[..., Any]:
    def handler(conn: rxws.Connection[str, str]) -> Observable[str]:
        return pipeline.run(conn, rxws.Recording(scheduler=conn.scheduler))

    return rxws.websocket(handler, codec=rxws.codecs.text)


@pytest.mark.parametrize(("name", "values", "incoming", "outgoing"), IN_VIRTUAL_TIME)
def test_the_shown_code_does_what_the_playground_does(
    name: str, values: Step, incoming: str, outgoing: str
) -> None:
    """The program that a user copies emits the same values at the same times."""
    pipeline = parse({"name": name, **values})
    expected = marbles(outgoing, step=0.1, values=VALUES)
    for handler in (handler_of(pipeline.code()), run_in_playground(pipeline)):
        assert simulate(handler, incoming, step=0.1).outgoing == expected


def test_code_has_the_steps_in_order_and_the_options() -> None:
    """The code of several steps is one chain, with the visitor's values as literals."""
    pipeline = parse(
        {"name": "keep", "part": 'a"\\b'},
        {"name": "buffer", "seconds": 2, "count": 3},
        max_buffer=8,
        overflow="latest",
    )
    code = pipeline.code()
    assert (
        "    return conn.incoming.pipe(\n"
        '        ops.filter(lambda text: "a\\"\\\\b" in text),\n'
        "        ops.buffer_with_time_or_count(2.0, 3),\n"
        "        ops.filter(bool),\n"
        '        ops.map(" ".join),\n'
        "    )\n"
    ) in code
    assert "overflow=rxws.overflow.latest(), max_buffer=8 << 10" in code
    assert pipeline.server_options() == {"overflow": rxws.overflow.latest(), "max_buffer": 8192}


def test_a_text_of_a_visitor_stays_a_text() -> None:
    """Text that looks like code is a literal in the program, and is never run."""
    text = '"+__import__("os").abort()+"\n\u2028é'
    tree = ast.parse(parse({"name": "keep", "part": text}).code())
    assert text in [each.value for each in ast.walk(tree) if isinstance(each, ast.Constant)]


def test_an_empty_pipeline_is_an_echo() -> None:
    """Without steps, the server sends back what it receives."""
    assert simulate(handler_of(parse().code()), "a-b-|").outgoing == marbles("a-b-|")


@pytest.mark.parametrize("preset", PRESETS, ids=lambda preset: preset.title)
def test_each_suggested_pipeline_is_valid(preset: Any) -> None:
    """The page can start every example, and its code compiles."""
    pipeline = parse(*preset.steps, **preset.options)
    assert callable(handler_of(pipeline.code()))
    assert len(pipeline.lanes()) == 3 + len(preset.steps)


def test_every_step_describes_itself() -> None:
    """The page gets JSON with a title, a sentence and the parameters of each step."""
    for step in STEPS.values():
        assert step.title
        assert step.about.endswith(".")
        for parameter in (*step.parameters.values(), *OPTIONS.values()):
            described = json.loads(json.dumps(parameter.describe()))
            assert parameter.parse(described["default"]) == parameter.default


@pytest.mark.parametrize(
    ("steps", "options", "message"),
    [
        ("debounce", {}, "a pipeline is a list of at most 4 steps"),
        ([{"name": "upper"}] * (MAX_STEPS + 1), {}, "a pipeline is a list of at most 4 steps"),
        ([1], {}, "step 1: there is no step None"),
        ([{"name": "eval"}], {}, "step 1: there is no step 'eval'"),
        ([{"name": []}], {}, r"step 1: there is no step \[\]"),
        (
            [{"name": "upper"}, {"name": "debounce", "seconds": "1"}],
            {},
            "step 2, debounce: time must be a number from 0.05 to 5, not '1'",
        ),
        ([{"name": "debounce", "seconds": None}], {}, "not None"),
        ([{"name": "debounce", "seconds": True}], {}, "not True"),
        ([{"name": "debounce", "seconds": float("nan")}], {}, "not nan"),
        ([{"name": "debounce", "seconds": 6}], {}, "from 0.05 to 5, not 6"),
        ([{"name": "debounce", "time": 1}], {}, "has no parameter 'time': it has seconds"),
        ([{"name": "upper", "x": 1}], {}, "has no parameter 'x': it has none"),
        ([{"name": "buffer", "count": 2.5}], {}, "at most must be a whole number .* not 2.5"),
        ([{"name": "keep", "part": 5}], {}, "contains must be a text, not 5"),
        ([{"name": "keep", "part": "a" * 41}], {}, "at most 40 characters, not 41"),
        ([{"name": "keep", "part": "\ud800"}], {}, "must be valid Unicode"),
        ([], {"overflow": "explode"}, "must be one of close, .*, not 'explode'"),
        ([], {"overflow": ["close"]}, r"not \['close'\]"),
        ([], [], "its parameters must be an object, not"),
        ([], {"max_buffer": 0}, "send buffer must be a whole number from 1 to 1024, not 0"),
        ([], {"overflow": "x" * 100}, "…$"),
    ],
)
def test_a_wrong_choice_gets_a_clear_message(steps: Any, options: Any, message: str) -> None:
    """The message names the step, the parameter, the value and what is allowed."""
    with pytest.raises(ValueError, match=message):
        Pipeline.parse(steps, options)


def test_whole_numbers_may_come_as_floats() -> None:
    """JavaScript has one type of numbers: 3.0 is accepted for a whole number, and 1 for a time."""
    assert Number("n", 4, 1, 9).parse(3.0) == 3
    assert isinstance(Number("n", 4, 1, 9).parse(3.0), int)
    assert isinstance(Number("n", 4.0, 1, 9).parse(3), float)
    assert Text("t", "").parse("") == ""
    assert Choice("c", "a", {"a": "A"}).parse("a") == "a"


class TestFeed:
    """What the page gets of a recording."""

    @staticmethod
    def collect(feed: Feed) -> list[tuple[str, str, object]]:
        return [(each["lane"], each["type"], each.get("text")) for each in feed.collect()]

    def test_events_come_once_and_in_order(self) -> None:
        """Each collection has the events since the one before, of all recordings."""
        client, server = rxws.Recording(), rxws.Recording()
        feed = Feed(client)
        feed.follow(server)
        rx.of("a", "b").pipe(server.tap("1"), client.tap("received")).subscribe()
        events = self.collect(feed)
        for name in ("1", "received"):
            ends = [event[1:] for event in events if event[0] == name]
            assert ends == [("next", "a"), ("next", "b"), ("completed", None)]
        assert self.collect(feed) == []
        rx.of("c").pipe(client.tap("received")).subscribe()
        assert ("received", "next", "c") in self.collect(feed)
        assert feed.left_out == 0

    def test_a_lost_connection_is_followed_until_it_is_collected(self) -> None:
        """The events of one connection are not lost when the next one begins."""
        feed = Feed(rxws.Recording())
        first, second, third = (rxws.Recording() for _ in range(3))
        feed.follow(first)
        rx.of("a").pipe(first.tap("1")).subscribe()
        feed.follow(second)
        rx.of("b").pipe(second.tap("1")).subscribe()
        texts = [text for _, kind, text in self.collect(feed) if kind == "next"]
        assert texts == ["a", "b"]
        feed.follow(third)
        rx.of("c").pipe(first.tap("1")).subscribe()
        assert self.collect(feed) == []  # it is no longer followed

    def test_what_is_left_out_is_counted(self) -> None:
        """Above the limit, and above what the recording keeps, the oldest messages are left out."""
        recording = rxws.Recording(keep=900)
        feed = Feed(recording)
        rx.range(2000).pipe(recording.tap("1")).subscribe()
        events = feed.collect()
        shown = [each for each in events if each["type"] == "next"]
        assert len(shown) + feed.left_out == 2000
        assert 700 <= len(shown) <= 800
        assert shown[-1]["text"] == "1999"
        assert events[-1]["type"] == "completed"

    def test_ends_are_shown_when_the_budget_is_spent(self) -> None:
        """A close, an error and a status are never left out."""
        recording = rxws.Recording()
        feed = Feed(recording)
        rx.range(1500).pipe(recording.tap("1")).subscribe()
        feed.collect()
        status = recording.lane("status")
        status.record("next", {"status": "Open"})
        rx.throw(ValueError("oops")).pipe(recording.tap("2")).subscribe(on_error=lambda _: None)
        rx.of(rxws.Close(4001, "why")).pipe(recording.tap("closed")).subscribe()
        rx.range(500).pipe(recording.tap("3")).subscribe()
        events = {each["lane"]: each for each in feed.collect()}
        assert events["status"]["status"] == "Open"
        assert (events["2"]["error"], events["2"]["text"]) == ("ValueError", "oops")
        assert events["closed"]["type"] == "completed"
        assert events["3"]["type"] == "completed"

    @pytest.mark.parametrize(
        ("code", "name"),
        [(1000, "normal closure"), (4001, "your own code"), (3001, "registered code")],
    )
    def test_a_close_has_its_name(self, code: int, name: str) -> None:
        """The page shows what a code means."""
        recording = rxws.Recording()
        feed = Feed(recording)
        rx.of(rxws.Close(code, "why")).pipe(recording.tap("closed")).subscribe()
        event = feed.collect()[0]
        del event["age"]
        assert event == {
            "lane": "closed",
            "type": "close",
            "code": code,
            "reason": "why",
            "by": "local",
            "name": name,
        }

    def test_long_texts_are_shortened(self) -> None:
        """The page gets the beginning of a message, and its size."""
        recording = rxws.Recording()
        feed = Feed(recording)
        rx.of("é " * 500).pipe(recording.tap("1")).subscribe()
        event = feed.collect()[0]
        assert len(event["text"]) == 80
        assert event["text"].endswith("…")
        assert event["size"] == 1500


def test_a_budget_fills_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token bucket allows a burst, then a rate."""
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    budget = Budget(per_second=10, burst=5)
    assert [budget.take(3), budget.take(3), budget.take(1)] == [3, 2, 0]
    now = 0.25
    assert budget.take(9) == 2
    now = 100.0
    assert budget.take(9) == 5
