"""Which functions can be methods, and how their arguments are checked."""

from __future__ import annotations

import datetime
import functools
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import pytest
import reactivex as rx

import rxws
from rxws.rpc import Context, Methods
from rxws.rpc._errors import InvalidParams
from rxws.rpc._methods import Method
from support import ROOT
from support.virtual.rpc import VirtualRpc, error, notification, request, result

if TYPE_CHECKING:
    from decimal import Decimal


@dataclass
class Point:
    x: int
    y: int = 0


class Options(msgspec.Struct):
    name: str


def bound(function: Any, params: Any) -> tuple[list[Any], dict[str, Any]]:
    args, named, _ = Method(function).bind(params)
    return args, named


def positional_only(a: int, /, b: int = 2) -> None: ...
def named_only(a: int, *, b: int) -> None: ...
def variable(first: int, *rest: int, key: str = "", **more: float) -> None: ...
def rich(point: Point, when: datetime.date, options: Options | None = None) -> None: ...
def annotated(count: Annotated[int, msgspec.Meta(ge=1)]) -> None: ...
def untyped(a, b=1): ...  # type: ignore[no-untyped-def]
def nothing() -> None: ...


BOUND: list[tuple[Any, Any, Any]] = [
    (positional_only, [1], ([1], {})),
    (positional_only, [1, 3], ([1, 3], {})),
    (named_only, {"a": 1, "b": 2}, ([], {"a": 1, "b": 2})),
    (variable, [1, 2, 3], ([1, 2, 3], {})),
    (variable, {"first": 1, "key": "k", "x": 1}, ([1], {"key": "k", "x": 1.0})),
    (rich, [{"x": 1}, "2026-01-02"], ([Point(1), datetime.date(2026, 1, 2)], {})),
    (
        rich,
        {"point": {"x": 1, "y": 2}, "when": "2026-01-02", "options": {"name": "n"}},
        (
            [],
            {"point": Point(1, 2), "when": datetime.date(2026, 1, 2), "options": Options("n")},
        ),
    ),
    (untyped, [None], ([None], {})),
    (untyped, {"a": [1], "b": {}}, ([], {"a": [1], "b": {}})),
    (nothing, None, ([], {})),
    (nothing, [], ([], {})),
    (nothing, {}, ([], {})),
    (max, [1, 2], ([1, 2], {})),
    (functools.partial(positional_only, 1), {"b": 5}, ([], {"b": 5})),
]


@pytest.mark.parametrize(("function", "params", "expected"), BOUND)
def test_arguments_are_bound(function: Any, params: Any, expected: Any) -> None:
    """Arguments are converted to the annotations, and passed by position or by name."""
    assert bound(function, params) == expected


REFUSED: list[tuple[Any, Any, str]] = [
    (positional_only, {"a": 1}, "'a' must be passed by position"),
    (named_only, [1], "'b' must be passed by name"),
    (variable, [], "missing a required argument: 'first'"),
    (variable, [1, "x"], "rest: Expected `int`, got `str`"),
    (variable, {"first": 1, "x": "y"}, "more: Expected `float`, got `str`"),
    (variable, {"first": "x"}, "first: Expected `int`, got `str`"),
    (rich, [{"y": 1}, "2026-01-02"], r"missing required field `x` - at `\$\[0\]`"),
    (rich, [{"x": 1}, "today"], "Invalid RFC3339 encoded date"),
    (annotated, [0], "Expected `int` >= 1"),
    (untyped, {}, "missing a required argument: 'a'"),
    (untyped, {"a": 1, "c": 1}, "unexpected keyword argument 'c'"),
    (nothing, [1], "too many positional arguments"),
    (nothing, {"a": 1}, "unexpected keyword argument 'a'"),
]


@pytest.mark.parametrize(("function", "params", "problem"), REFUSED)
def test_arguments_that_do_not_match(function: Any, params: Any, problem: str) -> None:
    """Arguments that do not match are refused with a text that says why."""
    with pytest.raises(InvalidParams, match=problem):
        bound(function, params)


def test_the_token_of_a_stream_is_no_argument() -> None:
    """A token is removed from the arguments, unless the function has a parameter for it."""
    params = {"a": 1, "partialResultToken": "t"}
    assert Method(untyped).bind(params) == ([], {"a": 1}, "t")

    def takes(a: int, partialResultToken: str) -> None:  # noqa: N803 # its name in the protocol
        ...

    assert Method(takes).bind(params) == ([], params, "t")
    assert Method(lambda **more: None).bind(params) == ([], params, "t")


# --- adding ---------------------------------------------------------------------------------------


def test_methods_are_a_mapping() -> None:
    """`add` returns the function; `Methods` is a mapping of names to functions."""
    methods = Methods()

    @methods.add
    def one() -> None: ...

    @methods.add(name="two.too")
    def two() -> None: ...

    assert methods.add(len) is len
    assert dict(methods) == {"one": one, "two.too": two, "len": len}
    assert len(methods) == 3
    assert repr(methods) == "<Methods one, two.too, len>"


def generator() -> Iterator[int]:
    yield 1


WRONG: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (5, {}, TypeError, "a method is a function, not 5"),
    ("half", {}, TypeError, r"not 'half': use @methods.add\(name='half'\)"),
    (generator, {}, TypeError, "use `async def` with `yield`"),
    (functools.partial(print), {}, TypeError, "has no name: pass name="),
    (print, {"name": 5}, TypeError, "has no name"),
    (print, {"name": ""}, TypeError, "has no name"),
    (print, {"name": "rpc.print"}, ValueError, "'rpc.print' is reserved"),
    (print, {"name": "$/print"}, ValueError, "is reserved"),
    (print, {"name": "taken"}, ValueError, "there is a method 'taken' already"),
]


@pytest.mark.parametrize(("function", "options", "error", "text"), WRONG)
def test_what_cannot_be_a_method(
    function: Any, options: dict[str, Any], error: type[Exception], text: str
) -> None:
    """A function that cannot be a method raises when it is added."""
    methods = Methods()
    methods.add(print, name="taken")
    with pytest.raises(error, match=text):
        methods.add(function, **options)


def unresolved(amount: Decimal) -> None: ...


def unsupported(either: Point | Options) -> None: ...


def test_annotations_that_do_not_work() -> None:
    """An annotation that cannot be resolved, or that msgspec does not support, raises at once."""
    with pytest.raises(
        TypeError, match=r"annotation 'Decimal' of 'amount' of .* cannot be resolved"
    ):
        Methods().add(unresolved)
    with pytest.raises(TypeError, match="msgspec does not support an annotation of"):
        Methods().add(unsupported)


# --- kinds of functions ---------------------------------------------------------------------------


class Service:
    def plain(self, a: int) -> int:
        return a

    async def later(self, a: int) -> int:
        return a

    async def many(self, *numbers: int) -> AsyncIterator[int]:
        for number in numbers:
            yield number

    def __call__(self, a: int) -> int:
        return a


def first(context: Context, a: int = 0, b: int = 0) -> str:
    return f"{context.method} {a} {b}"


def last(a: int = 0, b: int = 0, *, context: Context) -> str:
    return f"{context.method} {a} {b}"


def middle(a: int = 0, context: Context = None, b: int = 0) -> str:  # type: ignore[assignment]
    return f"{context.method} {a} {b}"


@functools.wraps(first)
def wrapped(*args: Any, **named: Any) -> str:
    return first(*args, **named)


@pytest.mark.parametrize("function", [first, last, middle, wrapped])
@pytest.mark.parametrize(("params", "text"), [([], "0 0"), ([1], "1 0"), ([1, 2], "1 2")])
def test_a_context_may_be_any_parameter(function: Any, params: list[int], text: str) -> None:
    """A parameter that is annotated with `Context` gets it, wherever it is."""
    methods = Methods()
    methods.add(function, name="m")
    rpc = VirtualRpc(methods)
    named = dict(zip("ab", params, strict=False))
    answers = rpc.ask(request(1, "m", params), request(2, "m", named))
    assert answers == [result(1, f"m {text}"), result(2, f"m {text}")]


async def test_bound_methods_and_objects_can_be_methods() -> None:
    """A bound method, a partial and an object with `__call__` are checked as functions are."""
    methods, service = Methods(), Service()
    methods.add(service.plain)
    methods.add(service.later)
    methods.add(service.many)
    methods.add(service, name="object")
    methods.add(functools.partial(service.plain), name="partial")
    rpc = VirtualRpc(methods)
    for id_, name in enumerate(methods):
        rpc.receive(request(id_, name, [7]), request(id_ + 10, name, ["x"]))
    await rpc.settle()
    by_id = {each["id"]: each for each in rpc.sent}
    assert [by_id[id_]["result"] for id_ in range(5)] == [7, 7, [7], 7, 7]
    assert {by_id[id_ + 10]["error"]["code"] for id_ in range(5)} == {-32602}


async def test_an_awaitable_of_a_plain_function_is_awaited() -> None:
    """A plain function may return a coroutine, as decorated ones do."""
    methods = Methods()
    methods.add(lambda: Service().later(5), name="later")
    rpc = VirtualRpc(methods)
    rpc.receive(request(1, "later"))
    await rpc.settle()
    assert rpc.sent == [result(1, 5)]


async def later(made: Any) -> Any:
    return made


@pytest.mark.parametrize(
    "function",
    [
        lambda: rx.of(1, 2),
        lambda: later(rx.of(1, 2)),
        lambda: Service().many(1, 2),
        lambda: later(Service().many(1, 2)),
    ],
)
async def test_streams_that_a_function_returns(function: Callable[[], Any]) -> None:
    """A function may return a stream, or a coroutine of one: every item is sent."""
    methods = Methods()
    methods.add(function, name="many")
    rpc = VirtualRpc(methods)
    rpc.receive(request(1, "many"), request(2, "many", {"partialResultToken": "t"}))
    await rpc.settle()
    parts = [part for part in rpc.sent if "id" not in part]
    assert parts == [
        notification("$/progress", {"token": "t", "value": [number]}) for number in (1, 2)
    ]
    answers = [answer for answer in rpc.sent if "id" in answer]
    assert sorted(answers, key=lambda answer: answer["id"]) == [result(1, [1, 2]), result(2, None)]


async def test_the_end_of_a_request_ends_its_observable() -> None:
    """A cancelled request unsubscribes from the Observable of its method; an error is -32603."""
    ticks, failing = rx.Subject[int](), rx.Subject[int]()
    methods = Methods()
    methods.add(lambda: ticks, name="ticks")
    methods.add(lambda: failing, name="failing")
    rpc = VirtualRpc(methods)
    rpc.receive(request(1, "ticks", {"partialResultToken": "t"}), request(2, "failing"))
    await rpc.settle()
    ticks.on_next(5)
    failing.on_error(ValueError("no"))
    await rpc.settle()
    progress = notification("$/progress", {"token": "t", "value": [5]})
    assert len(rpc.sent) == 2
    assert progress in rpc.sent  # requests run side by side: either may be first
    assert error(2, -32603, "Internal error") in rpc.sent
    assert ticks.observers
    rpc.receive(notification("$/cancelRequest", {"id": 1}))
    await rpc.settle()
    assert not ticks.observers


# --- without msgspec ------------------------------------------------------------------------------

WITHOUT_MSGSPEC = """
import sys
sys.modules["msgspec"] = None
import asyncio, json, logging
sys.path.insert(0, "tests")
import rxws, rxws.rpc
from support.virtual.rpc import VirtualRpc, request
logging.disable()
methods = rxws.rpc.Methods()

@methods.add
def add(a: int, b: int = 1) -> int:
    return a + b

rpc = VirtualRpc(methods)
nan = '{"jsonrpc": "2.0", "id": 6, "method": "add", "params": [NaN]}'
answers = rpc.ask(
    request(1, "add", [1, 2]),
    request(2, "add", {"a": 1}),
    request(3, "add", {"a": 1, "c": 2}),
    request(4, "add", []),
    request(5, "add", ["x"]),
    nan,
    b"[]",
    b"\\xff",
)
print(json.dumps([(a["id"], a.get("result"), a.get("error", {}).get("code")) for a in answers]))
for bad in (float("nan"), "\\ud800"):
    try:
        rpc.caller.notify("x", bad)
    except rxws.EncodeError as error:
        print("EncodeError")
try:
    rpc.caller.with_options(result=int)
except ImportError as error:
    print(error)
"""


def test_without_msgspec() -> None:
    """Without msgspec, the number and the names of arguments are checked, not their types."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_MSGSPEC],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    answers, *rest = done.stdout.splitlines()
    assert json.loads(answers) == [
        [1, 3, None],
        [2, 2, None],
        [3, None, -32602],
        [4, None, -32602],
        [5, None, -32603],  # "x" + 1 raises in the method
        [None, None, -32700],
        [None, None, -32600],
        [None, None, -32700],
    ]
    assert rest == [
        "EncodeError",
        "EncodeError",
        "result= needs msgspec: pip install 'path/to/rxws[typed]'",
    ]


def test_rpc_is_imported_when_it_is_used() -> None:
    """`import rxws` does not import `rxws.rpc`; the attribute does."""
    code = (
        "import sys, rxws; assert 'rxws.rpc' not in sys.modules; rxws.rpc.Peer;"
        "assert 'rpc' in dir(rxws); assert not hasattr(rxws, 'nope')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_wrong_argument_is_not_passed_on() -> None:
    """A TypeError inside of a method is an error of the method, not of the arguments."""
    methods = Methods()
    methods.add(lambda: "x" + 1, name="fail")  # type: ignore[operator]
    assert VirtualRpc(methods).ask(request(1, "fail")) == [error(1, -32603, "Internal error")]
    assert int(rxws.rpc.ErrorCode.INTERNAL_ERROR) == -32603
