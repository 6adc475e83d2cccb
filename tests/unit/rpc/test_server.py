"""How a peer answers requests, in virtual time."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import weakref
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

import rxws
from rxws import codecs
from rxws.rpc import Context, Methods, ResponseError
from support.virtual.rpc import VirtualRpc, error, notification, request, result
from support.virtual.session import VirtualSession

NO_METHOD = "Method not found"
CANCELLED = (-32800, "Request cancelled")


def cancel(id_: Any) -> dict[str, Any]:
    return notification("$/cancelRequest", {"id": id_})


class Strange(msgspec.Struct):
    a: int

    def __post_init__(self) -> None:
        raise KeyError(self.a)


def use_strange(value: Strange) -> None: ...


class Jobs:
    """Methods that run until the test lets them end."""

    def __init__(self) -> None:
        self.methods = Methods()
        self.release = asyncio.Event()
        self.log: list[str] = []
        self.context: Context | None = None
        for function in (self.subtract, self.wait, self.count, self.stubborn, self.ask_back):
            self.methods.add(function)

    def subtract(self, minuend: int, subtrahend: int) -> int:
        return minuend - subtrahend

    async def wait(self, name: str = "job") -> str:
        self.log.append(f"{name} began")
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.log.append(f"{name} cancelled")
            raise
        return name

    async def stubborn(self) -> str:
        """Ignore one cancellation."""
        try:
            await self.release.wait()
        except asyncio.CancelledError:
            self.log.append("ignored")
        await self.release.wait()
        return "done"

    async def count(self, to: int) -> AsyncIterator[int]:
        try:
            for number in range(to):
                yield number
                if number == 2:
                    await self.release.wait()
        finally:
            self.log.append("closed")

    async def ask_back(self, context: Context, question: str) -> Any:
        self.context = context
        return await context.caller.call("answer", question)


@pytest.fixture
def jobs() -> Jobs:
    return Jobs()


@pytest.fixture
def rpc(jobs: Jobs) -> VirtualRpc:
    return VirtualRpc(jobs.methods)


# --- the examples of the specification ----------------------------------------------------------


def test_arguments_by_position_and_by_name(rpc: VirtualRpc) -> None:
    """A plain function is answered at once, with arguments by position or by name."""
    assert rpc.ask(request(1, "subtract", [42, 23])) == [result(1, 19)]
    named = {"subtrahend": 23, "minuend": 42}
    assert rpc.ask(request(2, "subtract", named)) == [result(2, 19)]


def test_a_notification_is_never_answered(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A notification runs its method, and is not answered, whatever happens."""
    got: list[int] = []
    jobs.methods.add(got.append, name="update")
    bad = notification("subtract", ["x"])
    unknown, failing = notification("foobar"), notification("subtract", {"minuend": 1})
    assert rpc.ask(notification("update", [1]), bad, unknown, failing) == []
    assert got == [1]


@pytest.mark.parametrize("id_", ["a", "", 0, -7, 2**70, 1.5, None, "ü🦉"])
def test_every_legal_id_comes_back(rpc: VirtualRpc, id_: Any) -> None:
    """A string, a number or null is the id of the answer as it was that of the request."""
    [answer] = rpc.ask(request(id_, "subtract", [3, 1]))
    assert answer == result(id_, 2)
    assert type(answer["id"]) is type(id_)


@pytest.mark.parametrize(
    "text",
    [
        '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]',
        "",
        "\\",
        "[1,",
        "NaN",
        "[" * 9999,
    ],
)
def test_text_that_is_no_json(rpc: VirtualRpc, text: str) -> None:
    """Text that cannot be parsed is answered with -32700 and the id null."""
    assert rpc.ask(text) == [error(None, -32700, "Parse error")]


INVALID = [
    ({"jsonrpc": "2.0", "method": 1, "params": "bar"}, None),
    ({"jsonrpc": "1.0", "method": "subtract", "id": 1}, 1),
    ({"method": "subtract", "id": "b"}, "b"),
    ({"jsonrpc": "2.0", "method": "subtract", "id": True}, None),
    ({"jsonrpc": "2.0", "method": "subtract", "id": [1]}, None),
    ({"jsonrpc": "2.0", "method": "subtract", "id": 1, "params": 3}, 1),
    ({"jsonrpc": "2.0", "method": "subtract", "id": 1, "params": None}, 1),
    ({"jsonrpc": "2.0", "id": 4}, 4),
    ({}, None),
    ([], None),
    (1, None),
    ('"text"', None),
    (None, None),
]


@pytest.mark.parametrize(("message", "id_"), INVALID)
def test_json_that_is_no_message(rpc: VirtualRpc, message: Any, id_: Any) -> None:
    """JSON that is no message is answered with -32600, and with the id if it has a legal one."""
    [answer] = rpc.ask(message)
    assert (answer["id"], answer["error"]["code"]) == (id_, -32600)
    assert answer["error"]["message"].startswith("Invalid Request: ")


def test_batches_as_in_the_specification(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A batch is answered with one array, without notifications; or not at all."""
    [answers] = rpc.ask(
        [
            request("1", "subtract", [42, 23]),
            notification("subtract", [7, 2]),
            {"foo": "boo"},
            request("5", "foo.get", {"name": "myself"}),
            1,
        ]
    )
    assert [
        (one["id"], one.get("error", {}).get("code", one.get("result"))) for one in answers
    ] == [
        ("1", 19),
        (None, -32600),
        ("5", -32601),
        (None, -32600),
    ]
    assert rpc.ask([notification("subtract", [1, 1]), notification("subtract", [1, 1])]) == []


async def test_a_batch_waits_for_its_slowest_request(rpc: VirtualRpc, jobs: Jobs) -> None:
    """The answers of a batch come together, when the last method has ended."""
    batch = [request(1, "wait", ["a"]), request(2, "subtract", [2, 1]), request(3, "wait", ["b"])]
    assert rpc.ask(batch) == []
    await rpc.settle()
    assert rpc.ask(cancel(3)) == []
    jobs.release.set()
    await rpc.settle()
    assert rpc.sent == [[result(2, 1), error(3, *CANCELLED), result(1, "a")]]


def test_a_batch_that_is_too_long_is_refused(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    """A batch of more than `max_requests` messages is refused as a whole, with -32000."""
    rpc = VirtualRpc(jobs.methods, max_requests=2)
    one = request(1, "subtract", [2, 1])
    assert rpc.ask([one, one]) == [[result(1, 1), result(1, 1)]]
    [answer] = rpc.ask([one] * 3)
    assert (answer["id"], answer["error"]["code"]) == (None, -32000)
    assert rpc.peer.stats.refused == 3
    assert "too many requests: a batch has 3 messages, more than 2" in caplog.text


def test_a_binary_frame_is_parsed_as_text(rpc: VirtualRpc) -> None:
    """With the codec `raw`, JSON may come in a binary frame; the answer is text."""
    assert rpc.ask(b'{"jsonrpc":"2.0","id":1,"method":"subtract","params":[2,1]}') == [result(1, 1)]
    assert rpc.ask(b"\xff") == [error(None, -32700, "Parse error")]


# --- mistakes of the other side -----------------------------------------------------------------


def only_warning(caplog: pytest.LogCaptureFixture) -> str:
    [record] = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    text = record.getMessage()
    assert "\n" not in text
    return text


def test_an_unknown_method(rpc: VirtualRpc, caplog: pytest.LogCaptureFixture) -> None:
    """A method that does not exist is answered with -32601, and logged in one line."""
    assert rpc.ask(request(1, "no\nsuch")) == [error(1, -32601, NO_METHOD)]
    where = "rpc, ws://peer.example/"
    assert only_warning(caplog) == f"{where}: unknown method: method 'no\\nsuch'"


def test_the_second_mistake_of_a_kind_is_counted_only(
    rpc: VirtualRpc, caplog: pytest.LogCaptureFixture
) -> None:
    """A peer that repeats a mistake does not fill the log; all mistakes are counted."""
    rpc.receive(*[request(1, "nope")] * 5, "x", "x")
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 2
    assert rpc.peer.stats.mistakes == {"unknown method": 5, "parse error": 2}


WRONG = [
    ("subtract", [1], "missing a required argument: 'subtrahend'"),
    ("subtract", [1, 2, 3], "too many positional arguments"),
    ("subtract", ["x", 2], "Expected `int`, got `str` - at `$[0]`"),
    ("subtract", {"minuend": 1}, "missing a required argument: 'subtrahend'"),
    (
        "subtract",
        {"minuend": 1, "subtrahend": 2, "more": 3},
        "got an unexpected keyword argument 'more'",
    ),
    ("subtract", None, "missing a required argument: 'minuend'"),
]


@pytest.mark.parametrize(("method", "params", "problem"), WRONG)
def test_wrong_arguments(
    rpc: VirtualRpc, caplog: pytest.LogCaptureFixture, method: str, params: Any, problem: str
) -> None:
    """Arguments that do not match are answered with -32602 and the problem; nothing is called."""
    assert rpc.ask(request(1, method, params)) == [error(1, -32602, f"Invalid params: {problem}")]
    assert only_warning(caplog).endswith(f"wrong arguments: method 'subtract': {problem}")


def test_a_result_that_cannot_be_encoded(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A result that JSON cannot represent is answered with -32603, and logged in one line."""
    jobs.methods.add(object, name="make")
    assert rpc.ask(request(1, "make")) == [error(1, -32603, "Internal error")]
    text = only_warning(caplog)
    assert "method 'make' has a result that cannot be sent: EncodeError: cannot send <obj" in text
    assert rpc.ask(request(2, "subtract", [2, 1])) == [result(2, 1)]


def test_an_exception_is_not_shown_to_the_other_side(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A method that raises is answered with -32603; the log has the exception and its line."""

    def fail() -> None:
        raise ValueError("the password is secret")

    jobs.methods.add(fail)
    assert rpc.ask(request(1, "fail")) == [error(1, -32603, "Internal error")]
    text = only_warning(caplog)
    assert "method 'fail' raised at test_server.py:" in text
    assert text.endswith("in fail: ValueError: the password is secret")


def test_debug_logs_have_the_traceback(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """At the level DEBUG the log has the traceback of a method, too."""
    jobs.methods.add(lambda: 1 / 0, name="fail")
    with caplog.at_level(logging.DEBUG, "rxws"):
        rpc.receive(request(1, "fail"))
    assert "Traceback" in caplog.text


def test_a_response_error_is_the_answer(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A `ResponseError` of a method is sent as it is, and not logged."""

    def fail() -> None:
        raise ResponseError(7, "no such user", {"id": 3})

    def fail_badly() -> None:
        raise ResponseError(7, "no such user", object())

    jobs.methods.add(fail)
    jobs.methods.add(fail_badly)
    assert rpc.ask(request(1, "fail")) == [error(1, 7, "no such user", data={"id": 3})]
    assert not caplog.records
    assert rpc.ask(request(1, "fail_badly")) == [error(1, -32603, "Internal error")]
    assert "EncodeError" in only_warning(caplog)


async def test_a_response_error_that_was_not_initialized(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A subclass that does not call `super().__init__` is a fault of the method."""

    class NoMoney(ResponseError):
        def __init__(self) -> None:
            self.balance = 0

    async def pay() -> None:
        raise NoMoney

    def pay_now() -> None:
        raise NoMoney

    jobs.methods.add(pay)
    jobs.methods.add(pay_now)
    rpc.receive([request(1, "pay_now"), request(2, "pay")])
    await rpc.settle()
    assert rpc.sent == [[error(id_, -32603, "Internal error") for id_ in (1, 2)]]
    assert caplog.text.count("has no attribute 'code'") == 2


async def test_an_id_in_use(rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    """An id that is in use is refused with -32600 and the id null; the first request goes on."""
    rpc.receive(request(1, "wait"))
    [answer] = rpc.ask(request(1.0, "subtract", [2, 1]))
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)
    assert "the id 1.0 is in use" in only_warning(caplog)
    await rpc.settle()
    jobs.release.set()
    await rpc.settle()
    assert rpc.sent[1:] == [result(1, "job")]
    assert rpc.ask(request(1, "subtract", [2, 1])) == [result(1, 1)]


def test_an_unknown_cancellation(rpc: VirtualRpc, caplog: pytest.LogCaptureFixture) -> None:
    """A cancellation of an unknown id does nothing, and is logged in one line."""
    assert rpc.ask(cancel(77), notification("$/cancelRequest", [1]), cancel([1])) == []
    assert only_warning(caplog).endswith(
        "unknown cancellation: a cancellation of id 77, which does not run"
    )
    assert rpc.peer.stats.mistakes == {"unknown cancellation": 3}


@pytest.mark.parametrize("id_", [True, None])
async def test_a_cancellation_without_an_id(rpc: VirtualRpc, jobs: Jobs, id_: Any) -> None:
    """A boolean or null is no id, although Python says that True is 1."""
    rpc.receive(request(1, "wait"), request(None, "subtract", [2, 1]))
    await rpc.settle()
    rpc.receive(cancel(id_))
    assert rpc.peer.stats.mistakes == {"unknown cancellation": 1}
    assert rpc.sent == [result(None, 1)]


async def test_a_cancellation_that_crosses_the_answer(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A cancellation of a request that was just answered is no mistake."""
    jobs.release.set()
    rpc.receive(request(1, "wait"), request(2, "subtract", [2, 1]))
    await rpc.settle()
    assert rpc.ask(cancel(1), cancel(2)) == []
    assert not caplog.records


async def test_a_long_id_is_not_remembered(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A long id takes no memory after its answer: a late cancellation of it is unknown."""
    jobs.release.set()
    long = "x" * 1000
    rpc.receive(request(long, "wait"), request(f"{long}y", "subtract", [2, 1]))
    await rpc.settle()
    assert len(rpc.sent) == 2
    assert rpc.ask(cancel(long), cancel(f"{long}y")) == []
    assert rpc.peer.stats.mistakes == {"unknown cancellation": 2}


def test_a_type_that_fails_to_check_its_value(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A type whose own check raises something else than a ValueError is answered with -32603."""
    jobs.methods.add(use_strange)
    assert rpc.ask(request(1, "use_strange", [{"a": 1}])) == [error(1, -32603, "Internal error")]
    assert "KeyError" in only_warning(caplog)


def test_unsolicited_answers(rpc: VirtualRpc, caplog: pytest.LogCaptureFixture) -> None:
    """An answer that nobody awaits is ignored, and logged in one line."""
    assert rpc.ask(result(5, "x"), error("a", 1, "no"), result(None, 1)) == []
    assert only_warning(caplog).endswith("unknown answer: an answer with id 5, which nobody awaits")
    assert rpc.peer.stats.mistakes == {"unknown answer": 3}


MALFORMED_ANSWERS: list[Any] = [
    {"jsonrpc": "2.0", "id": 1, "result": 1, "error": {"code": 1, "message": "x"}},
    {"jsonrpc": "2.0", "result": 1},
    {"jsonrpc": "2.0", "id": 1, "error": None},
    {"jsonrpc": "2.0", "id": [1], "result": 1},
    {"id": 1, "result": 1},
]


@pytest.mark.parametrize("message", MALFORMED_ANSWERS)
def test_malformed_answers_are_not_answered(rpc: VirtualRpc, message: Any) -> None:
    """What looks like an answer is never answered, so that two peers cannot loop."""
    assert rpc.ask(message) == []
    assert rpc.peer.stats.mistakes == {"invalid message": 1}


def test_unknown_notifications(rpc: VirtualRpc, caplog: pytest.LogCaptureFixture) -> None:
    """An unknown notification is logged, unless its name begins with `$/`: those are optional."""
    assert rpc.ask(notification("$/setTrace", {"value": "off"})) == []
    assert not caplog.records
    assert rpc.ask(notification("hello")) == []
    assert only_warning(caplog).endswith("unknown method: notification 'hello'")


@pytest.mark.promise("rpc-flood")
async def test_a_flood_of_requests(jobs: Jobs, caplog: pytest.LogCaptureFixture) -> None:
    """Requests above `max_requests` get -32000, notifications are dropped, and all are counted."""
    rpc = VirtualRpc(jobs.methods, max_requests=2)
    flood = [request(id_, "wait") for id_ in range(5)]
    answers = rpc.ask(*flood, notification("wait"))
    assert [(one["id"], one["error"]["code"]) for one in answers] == [
        (2, -32000),
        (3, -32000),
        (4, -32000),
    ]
    assert answers[0]["error"]["message"] == "Too many requests: at most 2 may run"
    assert (rpc.peer.stats.refused, rpc.peer.stats.running) == (4, 2)
    assert "too many requests: method 'wait': at most 2 may run" in only_warning(caplog)
    jobs.release.set()
    await rpc.settle()
    assert rpc.sent[3:] == [result(0, "job"), result(1, "job")]
    assert rpc.ask(request(9, "subtract", [2, 1])) == [result(9, 1)]


async def test_the_default_bound_of_requests(rpc: VirtualRpc, jobs: Jobs) -> None:
    """By default, 256 requests of the other side may run, and a batch has as many messages."""
    [refused] = rpc.ask(*[request(id_, "wait") for id_ in range(257)])
    assert (refused["id"], refused["error"]["code"]) == (256, -32000)
    assert rpc.peer.stats.running == 256
    one = notification("nope")
    assert rpc.ask([one] * 256) == []
    [answer] = rpc.ask([one] * 257)
    assert answer["error"]["code"] == -32000


# --- cancellation -------------------------------------------------------------------------------


@pytest.mark.promise("rpc-cancelled")
async def test_a_cancelled_request_is_answered(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A cancelled request is answered with -32800, and its coroutine is cancelled."""
    rpc.receive(request("a", "wait"))
    await rpc.settle()
    assert rpc.ask(cancel("a")) == [error("a", *CANCELLED)]
    await rpc.settle()
    assert jobs.log == ["job began", "job cancelled"]
    assert rpc.peer.stats.running == 0


@pytest.mark.promise("rpc-cancelled")
async def test_a_method_that_ignores_its_cancellation(rpc: VirtualRpc, jobs: Jobs) -> None:
    """It is answered with -32800 all the same, once, and counts until it has ended."""
    rpc.receive(request(1, "stubborn"))
    await rpc.settle()
    assert rpc.ask(cancel(1)) == [error(1, *CANCELLED)]
    await rpc.settle()
    assert rpc.peer.stats.running == 1
    jobs.release.set()
    await rpc.settle()
    assert jobs.log == ["ignored"]
    assert rpc.peer.stats.running == 0
    assert len(rpc.sent) == 1


async def test_a_method_that_ignores_its_cancellation_for_long(
    jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """After `close_timeout` seconds it no longer counts, which is logged once for each method."""
    rpc = VirtualRpc(jobs.methods, max_requests=2, close_timeout=3)
    for id_ in (1, 2):
        rpc.receive(request(id_, "stubborn"))
        await rpc.settle()
        rpc.receive(cancel(id_))
        await rpc.settle()
    assert rpc.ask(request(3, "wait"))[0]["error"]["code"] == -32000
    rpc.session.run(2.9)
    assert rpc.peer.stats.running == 2
    caplog.clear()
    rpc.session.run(0.2)
    assert rpc.peer.stats.running == 0
    assert only_warning(caplog).endswith(
        "method 'stubborn' has not ended within 3 s of its cancellation: it no longer counts in "
        "max_requests"
    )
    rpc.receive(request(4, "stubborn"))
    await rpc.settle()
    rpc.receive(cancel(4))
    await rpc.end()
    rpc.session.run(10)
    only_warning(caplog)
    jobs.release.set()
    await rpc.settle()
    assert rpc.peer.stats.running == 0


@pytest.mark.parametrize("name", ["tidy", "tidy_stream", "too_long"])
async def test_finally_blocks_run_undisturbed(name: str) -> None:
    """What cancels a method a second time does not interrupt its `finally` blocks."""
    methods = Methods()
    log: list[str] = []
    wait, release = asyncio.Event(), asyncio.Event()

    async def clean_up() -> None:
        log.append("begins")
        await release.wait()
        log.append("ends")

    @methods.add
    async def tidy() -> None:
        try:
            await wait.wait()
        finally:
            await clean_up()

    @methods.add
    async def tidy_stream() -> AsyncIterator[int]:
        try:
            yield 1
            await wait.wait()
        finally:
            await clean_up()

    @methods.add
    async def too_long() -> AsyncIterator[int]:
        try:
            while True:
                yield 1
        finally:
            await clean_up()

    rpc = VirtualRpc(methods, queue_items=3)
    rpc.receive(request(1, name))
    await rpc.settle()
    rpc.receive(cancel(1))
    await rpc.settle()
    assert log == ["begins"]
    await rpc.end()
    release.set()
    await rpc.settle()
    assert log == ["begins", "ends"]


@pytest.mark.promise("rpc-cancelled")
async def test_a_request_that_is_cancelled_before_it_begins(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A request may be cancelled, or its connection may end, before the coroutine has begun."""
    assert rpc.ask(request(1, "wait"), cancel(1)) == [error(1, *CANCELLED)]
    rpc.receive(request(2, "wait"))
    before = asyncio.all_tasks()
    rpc.receive(request(3, "count", [1]))
    [task] = asyncio.all_tasks() - before
    task.cancel()
    rpc.receive(request(4, "wait"))
    await rpc.settle()
    assert error(3, *CANCELLED) in rpc.sent
    rpc.receive(request(5, "wait", ["late"]))
    rpc.session.peer.close(1000)
    await rpc.settle()
    assert "late began" not in jobs.log
    assert rpc.peer.stats.running == 0


async def test_a_method_that_cancels_itself(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A method of any kind that raises a CancelledError is answered with -32800, too."""

    async def give_up() -> None:
        raise asyncio.CancelledError

    async def give_up_later() -> AsyncIterator[int]:
        yield 1
        raise asyncio.CancelledError

    def give_up_at_once() -> None:
        raise asyncio.CancelledError  # as the result of a cancelled future does

    for method in (give_up, give_up_later, give_up_at_once):
        jobs.methods.add(method)
    assert rpc.ask(request(0, "give_up_at_once")) == [error(0, *CANCELLED)]
    rpc.receive(request(1, "give_up"), request(2, "give_up_later"))
    await rpc.settle()
    assert rpc.sent[1:] == [error(1, *CANCELLED), error(2, *CANCELLED)]


async def test_a_method_that_raises_generator_exit(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A method of any kind that raises a GeneratorExit is logged once, and answered with -32603."""

    async def leave() -> None:
        raise GeneratorExit

    async def leave_later() -> AsyncIterator[int]:
        yield 1
        raise GeneratorExit

    def leave_at_once() -> None:
        raise GeneratorExit

    for id_, method in enumerate((leave, leave_later, leave_at_once)):
        jobs.methods.add(method)
        rpc.receive(request(id_, method.__name__))
        await rpc.settle()
        assert rpc.sent[id_:] == [error(id_, -32603, "Internal error")]
        [record] = caplog.records
        assert f"method '{method.__name__}' raised at test_server.py" in record.getMessage()
        caplog.clear()


def test_a_request_whose_event_loop_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    """Python closes the coroutine of such a request: it is not answered, and nothing is logged."""
    jobs = Jobs()
    rpc = VirtualRpc(jobs.methods)
    task: Any = None

    async def run() -> None:
        nonlocal task
        rpc.receive(request(1, "wait"))
        await rpc.settle()
        [task] = asyncio.all_tasks() - {asyncio.current_task()}

    loop = asyncio.new_event_loop()
    loop.run_until_complete(run())
    loop.close()
    task.get_coro().close()
    task._log_destroy_pending = False  # as asyncio sets it for tasks that it abandons itself
    assert rpc.sent == []
    assert not caplog.records


async def test_a_batch_whose_method_disposes_the_peer(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """The rest of such a batch is cancelled: it is no mistake of the other side."""
    jobs.methods.add(lambda: rpc.peer.dispose(), name="dispose")
    batch = [
        request(1, "dispose"),
        request(2, "subtract", [2, 1]),
        notification("subtract", [2, 1]),
        result(9, None),
    ]
    assert rpc.ask(batch) == [[result(1, None), error(2, *CANCELLED)]]
    assert rpc.peer.stats.mistakes == {}
    assert not caplog.records


async def test_the_end_of_the_connection_cancels(rpc: VirtualRpc, jobs: Jobs) -> None:
    """When the connection ends, running methods are cancelled, and their context says so."""
    rpc.receive(request(1, "wait"), request(2, "ask_back", ["?"]))
    await rpc.settle()
    assert jobs.context is not None
    assert not jobs.context.cancelled
    rpc.session.peer.close(1000)
    await rpc.settle()
    assert jobs.log == ["job began", "job cancelled"]
    assert jobs.context.cancelled
    assert rpc.peer.stats.running == 0


# --- streams ------------------------------------------------------------------------------------


def progress(token: Any, *items: Any) -> dict[str, Any]:
    return notification("$/progress", {"token": token, "value": list(items)})


@pytest.mark.parametrize("token", ["t", 7, 0])
async def test_a_stream(rpc: VirtualRpc, jobs: Jobs, token: Any) -> None:
    """With a token, each item is sent as progress, and the result is null."""
    jobs.release.set()
    rpc.receive(request(1, "count", {"to": 4, "partialResultToken": token}))
    await rpc.settle()
    assert rpc.sent == [*[progress(token, number) for number in range(4)], result(1, None)]
    assert jobs.log == ["closed"]


@pytest.mark.parametrize("params", [[4], {"to": 4}])
async def test_a_stream_without_a_token(rpc: VirtualRpc, jobs: Jobs, params: Any) -> None:
    """Without a token, the result is the array of all items."""
    jobs.release.set()
    rpc.receive(request(1, "count", params))
    await rpc.settle()
    assert rpc.sent == [result(1, [0, 1, 2, 3])]


@pytest.mark.parametrize("options", [{"queue_items": 3}, {"queue_bytes": 3}])
async def test_an_array_is_bounded(jobs: Jobs, options: dict[str, int]) -> None:
    """An array above the bounds is answered with an error that names the remedy."""
    jobs.release.set()
    rpc = VirtualRpc(jobs.methods, **options)
    rpc.receive(request(1, "count", [4]), request(2, "count", [3]))
    await rpc.settle()
    by_id = {one["id"]: one for one in rpc.sent}
    assert by_id[1]["error"]["code"] == -32603
    assert "ask for a stream, with a partialResultToken" in by_id[1]["error"]["message"]
    assert by_id[2] == result(2, [0, 1, 2])
    assert jobs.log == ["closed", "closed"]


@pytest.mark.parametrize("token", [None, True, 1.5, [1], {}])
def test_a_token_of_another_type(rpc: VirtualRpc, token: Any) -> None:
    """A token that is neither a string nor an integer is a wrong argument."""
    [answer] = rpc.ask(request(1, "count", {"to": 1, "partialResultToken": token}))
    assert answer["error"]["code"] == -32602


async def test_a_generator_that_raises_half_way(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """The items before are sent, the answer is -32603, and the log has one line."""

    async def fail() -> AsyncIterator[int]:
        yield 1
        raise ValueError("half-way")

    jobs.methods.add(fail)
    rpc.receive(request(1, "fail", {"partialResultToken": "t"}))
    await rpc.settle()
    assert rpc.sent == [progress("t", 1), error(1, -32603, "Internal error")]
    assert only_warning(caplog).endswith("in fail: ValueError: half-way")


async def test_an_item_that_cannot_be_encoded(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """It ends the stream with -32603, closes the generator, and is logged in one line."""
    closed: list[bool] = []

    async def fail() -> AsyncIterator[Any]:
        try:
            yield object()
        finally:
            closed.append(True)

    jobs.methods.add(fail)
    rpc.receive(request(1, "fail", {"partialResultToken": "t"}), request(2, "fail"))
    await rpc.settle()
    assert rpc.sent == [error(1, -32603, "Internal error"), error(2, -32603, "Internal error")]
    assert closed == [True, True]
    assert len(caplog.records) == 2


async def test_a_cancelled_stream(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A cancelled stream sends nothing more; its generator is closed once."""
    rpc.receive(request(1, "count", {"to": 9, "partialResultToken": "t"}))
    await rpc.settle()
    assert len(rpc.sent) == 3
    assert rpc.ask(cancel(1)) == [error(1, *CANCELLED)]
    await rpc.settle()
    assert jobs.log == ["closed"]
    assert len(rpc.sent) == 4


@pytest.mark.parametrize("token", [{}, {"partialResultToken": "t"}])
async def test_a_generator_that_never_waits(
    rpc: VirtualRpc, jobs: Jobs, token: dict[str, str]
) -> None:
    """A generator that never waits leaves the event loop its turns, and can be cancelled."""
    left: list[int] = []

    async def busy() -> AsyncIterator[str]:
        try:
            for number in range(10_000_000):
                left[:] = [number]
                yield ""
        finally:
            jobs.log.append("closed")

    jobs.methods.add(busy)
    rpc.receive(request(1, "busy", token) if token else notification("busy"))
    await rpc.settle()
    assert left[0] < 1_000_000
    if token:
        rpc.receive(cancel(1))
    else:
        rpc.session.peer.close(1000)
    await rpc.settle()
    assert jobs.log == ["closed"]


async def test_a_generator_that_ignores_its_cancellation(rpc: VirtualRpc, jobs: Jobs) -> None:
    """Items that a cancelled generator still yields are not sent, and it is closed."""

    async def stubborn() -> AsyncIterator[int]:
        try:
            while True:
                try:
                    await jobs.release.wait()
                except asyncio.CancelledError:
                    pass
                yield 1
        finally:
            jobs.log.append("closed")

    jobs.methods.add(stubborn, name="stubborn_stream")
    rpc.receive(request(1, "stubborn_stream", {"partialResultToken": "t"}))
    rpc.receive(request(2, "stubborn_stream"))
    await rpc.settle()
    assert rpc.ask(cancel(1), cancel(2)) == [error(1, *CANCELLED), error(2, *CANCELLED)]
    await rpc.settle()
    assert jobs.log == ["closed", "closed"]
    assert len(rpc.sent) == 2


class Numbers:
    """An async iterator that is no generator."""

    def __init__(self) -> None:
        self.closed = 0

    def __aiter__(self) -> Numbers:
        return self

    async def __anext__(self) -> int:
        await asyncio.Event().wait()
        return 0

    async def aclose(self) -> None:
        self.closed += 1


async def test_an_async_iterator_is_closed_once(rpc: VirtualRpc, jobs: Jobs) -> None:
    """An async iterator with an `aclose` is closed when its request is cancelled."""
    numbers = Numbers()
    jobs.methods.add(lambda: numbers, name="numbers")
    rpc.receive(request(1, "numbers", {"partialResultToken": "t"}))
    await rpc.settle()
    rpc.receive(cancel(1))
    await rpc.settle()
    assert numbers.closed == 1


async def test_a_stream_waits_for_the_other_side(rpc: VirtualRpc) -> None:
    """A generator is not resumed while the other side does not read."""
    produced: list[int] = []

    async def numbers() -> AsyncIterator[int]:
        for number in range(5):
            produced.append(number)
            yield number

    methods = Methods()
    methods.add(numbers)
    rpc = VirtualRpc(methods)
    rpc.session.peer.stop()
    rpc.receive(request(1, "numbers", {"partialResultToken": "t"}))
    await rpc.settle()
    assert produced == [0]
    rpc.session.peer.go()
    await rpc.settle()
    assert produced == [0, 1, 2, 3, 4]
    assert rpc.sent[-1] == result(1, None)


@pytest.mark.parametrize("name", ["answered", "failing", "collected", "streamed"])
async def test_answers_wait_for_the_other_side(name: str) -> None:
    """Methods that end at the same time send one answer after the other, as these are read."""
    release = asyncio.Event()
    methods = Methods()
    large = "x" * 1000

    @methods.add
    async def answered() -> str:
        await release.wait()
        return large

    @methods.add
    async def failing() -> None:
        await release.wait()
        raise ResponseError(1, "too late", large)

    @methods.add(name="streamed")
    @methods.add(name="collected")
    async def generated() -> AsyncIterator[str]:
        await release.wait()
        yield large

    rpc = VirtualRpc(methods, max_buffer=2000)
    token = {"partialResultToken": "t"} if name == "streamed" else None
    for id_ in range(10):
        rpc.receive(request(id_, name, token))
    await rpc.settle()
    release.set()
    for _ in range(10):
        rpc.session.peer.stop()
        await rpc.settle()
        assert rpc.conn.flow.buffered < 2000
        rpc.session.peer.go(1)
        await rpc.settle()
    rpc.session.peer.go()
    await rpc.settle()
    answers = [each for each in rpc.sent if "id" in each]
    assert sorted(answer["id"] for answer in answers) == list(range(10))
    assert rpc.conn.flow.stats.dropped == {}


async def test_an_answer_that_waits_is_cancelled(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A request whose answer waits for the other side can be cancelled; its end ends the others."""
    jobs.release.set()
    rpc.receive(request(0, "wait"))
    await rpc.settle()
    rpc.session.peer.stop()
    rpc.receive(request(1, "subtract", [2, 1]), request(2, "wait"))
    await rpc.settle()
    rpc.receive(cancel(2))
    rpc.session.peer.go()
    await rpc.settle()
    assert rpc.sent[1:] == [result(1, 1), error(2, *CANCELLED)]
    assert rpc.peer.stats.running == 0


async def test_a_stream_ends_with_the_connection(jobs: Jobs) -> None:
    """A generator that waits for the other side is closed when the connection ends."""
    rpc = VirtualRpc(jobs.methods)
    rpc.session.peer.stop()
    rpc.receive(request(1, "count", {"to": 9, "partialResultToken": "t"}))
    await rpc.settle()
    rpc.session.peer.lost()
    await rpc.settle()
    assert jobs.log == ["closed"]
    assert rpc.peer.stats.running == 0


async def test_a_notification_of_a_stream(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A notification runs a generator to its end; its items go nowhere."""
    jobs.release.set()
    rpc.receive(notification("count", {"to": 4, "partialResultToken": "t"}))
    await rpc.settle()
    assert rpc.sent == []
    assert jobs.log == ["closed"]


def test_a_token_for_a_plain_method(rpc: VirtualRpc) -> None:
    """A method that is no stream ignores a token, and answers as usual."""
    named = {"minuend": 3, "subtrahend": 1, "partialResultToken": "t"}
    assert rpc.ask(request(1, "subtract", named)) == [result(1, 2)]


# --- the context --------------------------------------------------------------------------------


async def test_a_method_calls_back(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A method that asks for its context can call the side that called it."""
    [call] = await asked(rpc, request("x", "ask_back", ["why?"]))
    assert (call["method"], call["params"]) == ("answer", ["why?"])
    assert jobs.context is not None
    assert jobs.context.connection is rpc.conn
    assert repr(jobs.context) == "<Context 'ask_back'>"
    assert await asked(rpc, result(call["id"], "because")) == [result("x", "because")]


async def asked(rpc: VirtualRpc, message: Any) -> list[Any]:
    before = len(rpc.sent)
    rpc.receive(message)
    await rpc.settle()
    return rpc.sent[before:]


# --- the peer -----------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [codecs.json, codecs.binary, codecs.typed(int)])
def test_the_codec_must_be_raw_or_text(codec: Any) -> None:
    """A connection with another codec is a TypeError that names the remedy."""
    session = VirtualSession(codec=codec)
    with pytest.raises(TypeError, match=r"use codec=rxws\.codecs\.raw \(the default\) or"):
        rxws.rpc.Peer(session.conn)


def test_a_text_connection(jobs: Jobs) -> None:
    """The codec `text` works as `raw` does."""
    rpc = VirtualRpc(jobs.methods, codec=codecs.text)
    assert rpc.ask(request(1, "subtract", [2, 1])) == [result(1, 1)]


def test_a_recorded_connection(jobs: Jobs) -> None:
    """A connection that is being recorded has its codec still."""
    session = VirtualSession(codec=codecs.text)
    rxws.Recording.of(session.conn)
    rxws.rpc.Peer(session.conn, jobs.methods)


def test_what_is_no_connection() -> None:
    """Another source is a TypeError."""
    with pytest.raises(TypeError, match="needs a Connection or a WebSocketSubject, not 'ws://x'"):
        rxws.rpc.Peer("ws://x")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_requests": 0}, ValueError),
        ({"max_calls": "9"}, TypeError),
        ({"queue_items": True}, TypeError),
        ({"queue_bytes": 0.5}, TypeError),
        ({"max_request": 9}, TypeError),
    ],
)
def test_wrong_options(options: dict[str, Any], error: type[Exception]) -> None:
    """A wrong option raises when the handler is made, and names itself."""
    [name] = options
    with pytest.raises(error, match=name):
        rxws.rpc.serve(Methods(), **options)


def test_methods_of_another_type() -> None:
    """Methods that are no `Methods` are a TypeError."""
    with pytest.raises(TypeError, match=r"make a rxws\.rpc\.Methods\(\)"):
        rxws.rpc.serve({"add": sum})  # type: ignore[arg-type]


async def test_a_connection_has_one_peer(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A second peer or caller would answer requests, too: it raises until the first is disposed."""
    for make in (rxws.rpc.Peer, rxws.rpc.Caller):
        with pytest.raises(
            RuntimeError, match=r"has a Peer or a Caller already: use .*peer\.caller"
        ):
            make(rpc.conn)
    rpc.peer.dispose()
    rxws.rpc.Peer(rpc.conn, jobs.methods)
    assert rpc.ask(request(1, "subtract", [2, 1])) == [result(1, 1)]


async def test_a_peer_is_freed_with_its_connection() -> None:
    """When the connection has ended, the peer is freed by reference counting."""
    session = VirtualSession()
    peer = rxws.rpc.Peer(session.conn, Jobs().methods)
    peer.caller.stream("x").subscribe(on_error=lambda error: None)
    call = asyncio.create_task(peer.caller.call("x"))
    for message in (request(1, "subtract", [2, 1]), request(2, "wait"), request(3, "nope")):
        session.peer.message(json.dumps(message))
    await asyncio.sleep(0)
    session.peer.close(1000)
    session.settle()
    await asyncio.gather(call, return_exceptions=True)
    freed = weakref.ref(peer._router)
    gc.disable()
    try:
        del session, peer, call
        for _ in range(5):  # the cancelled task ends
            await asyncio.sleep(0)
        assert freed() is None
    finally:
        gc.enable()


async def test_dispose_stops(rpc: VirtualRpc, jobs: Jobs) -> None:
    """A disposed peer cancels its methods, fails its calls, and leaves the connection open."""
    rpc.receive(request(1, "wait"), notification("wait", ["notified"]))
    call = asyncio.create_task(rpc.caller.call("x"))
    await rpc.settle()
    rpc.peer.dispose()
    await rpc.settle()
    assert sorted(jobs.log) == [
        "job began",
        "job cancelled",
        "notified began",
        "notified cancelled",
    ]
    with pytest.raises(rxws.rpc.CallLost):
        await call
    assert rpc.sent == [request(1, "x"), error(1, *CANCELLED), cancel(1)]
    rpc.conn.outgoing.on_next("open")
    assert rpc.session.messages[-1] == "open"


async def test_dispose_of_a_closing_connection_sends_nothing(rpc: VirtualRpc) -> None:
    """A handler's peer is disposed when its connection closes: nothing can be sent any more."""
    rpc.receive(request(1, "wait"))
    await rpc.settle()
    rpc.conn.outgoing.on_completed()
    rpc.peer.dispose()
    await rpc.settle()
    assert rpc.sent == []
    assert rpc.conn.flow.stats.dropped == {}


async def test_a_method_disposes_its_peer(
    rpc: VirtualRpc, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A method may dispose the peer: it is answered, and what it raises is logged."""
    jobs.release.set()

    def leave(how: str) -> Any:
        rpc.peer.dispose()
        if how == "raise":
            raise ValueError(how)
        return jobs.wait() if how == "wait" else how

    jobs.methods.add(leave)
    got: list[Any] = []
    for how in ("return", "raise", "wait"):
        rpc = VirtualRpc(jobs.methods)
        got += rpc.ask(request(1, "leave", [how]))
    assert got == [result(1, "return"), error(1, -32603, "Internal error"), error(1, *CANCELLED)]
    assert "ValueError: raise" in only_warning(caplog)
    assert jobs.log == []


def test_an_async_method_in_virtual_time_needs_a_loop(
    rpc: VirtualRpc, caplog: pytest.LogCaptureFixture
) -> None:
    """Without an event loop, a coroutine is answered with -32603; plain functions run."""
    assert rpc.ask(request(1, "wait")) == [error(1, -32603, "Internal error")]
    assert "no running event loop" in only_warning(caplog)


def test_a_peer_shows_what_it_does(rpc: VirtualRpc) -> None:
    """The repr of a peer has the URL and what is running."""
    assert repr(rpc.peer) == "<Peer ws://peer.example/ running=0 calls=0>"
