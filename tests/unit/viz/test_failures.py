"""The text below a diagram: an error with its step and value, and the errors of a connection."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from reactivex import Observable
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws.testing import Clock
from rxws.viz import View, stop_all, watch
from support.virtual.session import VirtualSession


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Stop all views after each test."""
    yield
    stop_all()


def below(view: View) -> str:
    """Return the text below the diagram."""
    return view.text().removeprefix(view.recording.text()).strip()


def html(view: View) -> str:
    """Return the HTML below the diagram."""
    return view._repr_mimebundle_()["text/html"].removeprefix(view.svg())


def inverse(number: int) -> float:
    return 1 / number


@pytest.mark.promise("value")
def test_an_error_is_shown_with_its_step_and_value() -> None:
    """An error is shown with its step, its value and its place in the user's code."""
    source = Subject[int]()
    view = watch(source, ops.map(lambda n: n - 1), ops.map(inverse), ops.map(str))
    source.on_next(3)
    source.on_next(1)

    said = below(view).splitlines()
    assert said[0] == "✗ ZeroDivisionError: division by zero"
    assert said[1] == "  in map #2 (inverse), at the value 0"
    assert __file__ in said[2]
    assert said[2].endswith("in inverse")

    page = html(view)
    assert "<b>ZeroDivisionError</b>" in page
    assert "<b>map #2</b> <code>inverse</code>" in page
    assert '<code title="0">0</code>' in page
    assert "<details" in page
    assert "return 1 / number" in page
    assert "reactivex" not in page
    assert "rxws/viz" not in page
    assert repr(view) == "<View source 2, map 2, map #2 1, map #3 1, failed ZeroDivisionError>"


def test_the_lanes_below_show_the_error() -> None:
    """Lanes from the failed step down show the error; lanes above it are disposed."""
    source = Subject[int]()
    view = watch(source, ops.map(inverse), ops.map(str))
    source.on_next(0)
    ends = [lane.entries[-1].type for lane in view.recording.lanes.values()]
    assert ends == ["disposed", "error", "error"]


def test_an_exception_that_an_operator_raises_is_shown() -> None:
    """An exception that an operator raises to its source ends its lane like an error."""

    def raising(source: Observable[Any]) -> Observable[Any]:
        def subscribe(observer: Any, scheduler: Any = None) -> Any:
            def on_next(value: Any) -> None:
                raise LookupError("raised")

            return source.subscribe(on_next, observer.on_error, observer.on_completed)

        return Observable(subscribe)

    source = Subject[int]()
    view = watch(source, raising, ops.map(str))
    source.on_next(7)
    assert "in raising, at the value 7" in below(view)
    ends = [lane.entries[-1].type for lane in view.recording.lanes.values()]
    assert ends == ["disposed", "error", "error"]


@pytest.mark.parametrize("end", ["on_error", "on_completed"])
def test_an_exception_at_the_end_is_shown(end: str) -> None:
    """An exception in `on_error` or `on_completed` is shown without a value."""

    def raising(source: Observable[Any]) -> Observable[Any]:
        def subscribe(observer: Any, scheduler: Any = None) -> Any:
            def raise_it(*_: Any) -> None:
                raise LookupError("raised")

            return source.subscribe(observer.on_next, raise_it, raise_it)

        return Observable(subscribe)

    source = Subject[int]()
    view = watch(source, raising)
    getattr(source, end)(*[ValueError()][: end == "on_error"])
    assert "LookupError: raised\n  in raising" in below(view)
    assert "at the value" not in below(view)


def test_an_error_of_the_source_is_shown() -> None:
    """An error of the source is shown without a value, and without an empty traceback."""
    source = Subject[int]()
    view = watch(source, ops.map(str))
    source.on_error(ValueError("<none>"))
    assert below(view) == "✗ ValueError: <none>\n  in source"
    assert "&lt;none&gt;" in html(view)
    assert "<details" not in html(view)


def test_an_error_from_a_timer_has_no_value() -> None:
    """An error that a timer causes is shown without a value."""
    clock, source = Clock(), Subject[int]()
    view = watch(source, ops.timeout(1.0), scheduler=clock)
    source.on_next(1)
    clock.run(2.0)
    assert "in timeout (1 s)" in below(view)
    assert "at the value" not in below(view)


def test_an_error_that_a_step_handles_is_not_shown() -> None:
    """An error that a later step handles is not shown, and the chain continues."""
    source = Subject[int]()
    view = watch(source, ops.map(inverse), ops.retry())
    source.on_next(0)
    source.on_next(2)
    assert view.state == "running"
    assert below(view) == ""
    assert [entry.data for entry in view.recording.lanes["retry"].entries] == [0.5]


def test_the_cause_of_an_error_is_in_its_traceback() -> None:
    """The traceback has the cause of an error, as Python prints it."""

    def fail(value: Any) -> Any:
        try:
            return inverse(value)
        except ZeroDivisionError as exc:
            raise LookupError from exc

    source = Subject[int]()
    view = watch(source, ops.map(fail))
    source.on_next(0)
    assert "direct cause" in html(view)
    assert below(view).startswith("✗ LookupError\n")


def test_a_value_may_be_long_or_have_no_repr() -> None:
    """A long value is cut; if its repr raises, that is shown instead."""

    class Wordy:
        def __repr__(self) -> str:
            return "w" * 3000

    class BrokenRepr:
        def __repr__(self) -> str:
            raise LookupError

    for value, said in (
        (Wordy(), "w" * 79 + "…"),
        (BrokenRepr(), "<BrokenRepr: its repr raised LookupError>"),
    ):
        source = Subject[Any]()
        view = watch(source, ops.map(inverse))
        source.on_next(value)
        assert f"at the value {said}\n" in below(view)


def test_errors_of_a_connection_are_shown() -> None:
    """The latest three errors of a connection are shown, with their number."""
    virtual = VirtualSession(watch=True)
    virtual.watch(virtual.conn.errors)
    view = watch(virtual.conn)

    def raise_it(value: Any) -> None:
        raise LookupError(value)

    virtual.conn.incoming.subscribe(raise_it)
    virtual.peer.message("a")
    virtual.settle()
    assert below(view) == "✗ LookupError: a"
    for text in "bcd":
        virtual.peer.message(text)
    virtual.settle()
    assert below(view) == (
        "4 errors, the latest:\n✗ LookupError: b\n✗ LookupError: c\n✗ LookupError: d"
    )
    assert "4 errors" in html(view)
    assert "errors 4" in repr(view)
    assert view.state == "running"
