"""Calls, notifications and streams of a `Caller`, in virtual time."""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
from typing import Any

import pytest
from reactivex import operators as ops

import rxws
from rxws import codecs
from rxws._core.upstream import Upstreams, collect_upstreams
from rxws.operators import map_async
from rxws.rpc import CallLost, CallTimeout, ResponseError, StreamOverflow, TooManyCalls
from support.subscriber import Subscriber
from support.virtual.rpc import VirtualRpc, error, notification, request, result


@pytest.fixture
def rpc() -> VirtualRpc:
    return VirtualRpc()


async def start(rpc: VirtualRpc, *args: Any, **named: Any) -> asyncio.Task[Any]:
    """Call a method, and return the task when the request is sent."""
    task = asyncio.create_task(rpc.caller.call(*args, **named))
    rpc.tasks.append(task)
    await rpc.settle()
    return task


def progress(token: Any, *items: Any) -> dict[str, Any]:
    return notification("$/progress", {"token": token, "value": list(items)})


def cancellation(id_: Any) -> dict[str, Any]:
    return notification("$/cancelRequest", {"id": id_})


# --- calls ----------------------------------------------------------------------------------------


async def test_calls_are_answered_in_any_order(rpc: VirtualRpc) -> None:
    """Each call gets the answer with its id, whatever the order."""
    first = await start(rpc, "add", 1, 2)
    second = await start(rpc, "join", left="a", right="b")
    third = await start(rpc, "now")
    assert rpc.sent == [
        request(1, "add", [1, 2]),
        request(2, "join", {"left": "a", "right": "b"}),
        request(3, "now"),
    ]
    rpc.receive([result(3, None), result(1.0, 3)], result(2, "ab"))
    assert [await first, await second, await third] == [3, "ab", None]
    assert rpc.peer.stats.calls == 0


async def test_arguments_are_by_position_or_by_name(rpc: VirtualRpc) -> None:
    """Arguments by position and by name are a TypeError, as JSON-RPC has only one of them."""
    with pytest.raises(TypeError, match="'add' was called with arguments by position and by name"):
        await rpc.caller.call("add", 1, b=2)
    with pytest.raises(TypeError, match="by position and by name"):
        rpc.caller.notify("add", 1, b=2)
    with pytest.raises(TypeError, match=r"'add' was called as a stream .*pass them by name"):
        rpc.caller.stream("add", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="the name of a method is a str, not 5"):
        await rpc.caller.call(5)  # type: ignore[arg-type]
    assert rpc.sent == []


async def test_a_caller_on_another_thread(rpc: VirtualRpc) -> None:
    """Also in virtual time, a caller must be used on its own thread."""
    with pytest.raises(RuntimeError, match=r"this caller belongs to the thread of .*: use it in"):
        await asyncio.to_thread(rpc.caller.notify, "x")
    assert rpc.sent == []


async def test_parameters_may_have_any_name(rpc: VirtualRpc) -> None:
    """An argument may be called `method`, `self`, `timeout` or `result`."""
    await start(rpc, "x", method=1, self=2, timeout=3, result=4)
    [sent] = rpc.sent
    assert sent["params"] == {"method": 1, "self": 2, "timeout": 3, "result": 4}


async def test_an_error_is_raised(rpc: VirtualRpc) -> None:
    """An error answer is raised as a `ResponseError`, with code, message and data."""
    call = await start(rpc, "x")
    rpc.receive(error(1, 7, "no", data=[1]))
    with pytest.raises(ResponseError, match=r"^no \(7\)$") as caught:
        await call
    assert (caught.value.code, caught.value.message, caught.value.data) == (7, "no", [1])


@pytest.mark.parametrize("value", ["no", 5, {}, {"code": "x", "message": 1}, {"code": True}])
async def test_a_malformed_error_is_raised(rpc: VirtualRpc, value: Any) -> None:
    """An error of another shape is a `ResponseError` that has it as its data."""
    call = await start(rpc, "x")
    rpc.receive({"jsonrpc": "2.0", "id": 1, "error": value})
    with pytest.raises(ResponseError, match="malformed") as caught:
        await call
    assert (caught.value.code, caught.value.data) == (-32603, value)


async def test_arguments_that_cannot_be_encoded(rpc: VirtualRpc) -> None:
    """They raise an `EncodeError`, and nothing is sent or left."""
    for bad in (object(), "\ud800"):
        with pytest.raises(rxws.EncodeError, match=r"cannot send .* as JSON"):
            await rpc.caller.call("x", bad)
        with pytest.raises(rxws.EncodeError, match="as JSON"):
            rpc.caller.notify("x", bad)
        with pytest.raises(rxws.EncodeError, match="as JSON"):
            rpc.caller.stream("x", bad=bad)
    assert rpc.sent == []
    assert rpc.peer.stats.calls == 0


async def test_a_cancelled_call(rpc: VirtualRpc, caplog: pytest.LogCaptureFixture) -> None:
    """Cancelling a call asks the other side to cancel; the answer then is no mistake."""
    call = await start(rpc, "x")
    call.cancel()
    await rpc.settle()
    assert call.cancelled()
    assert rpc.sent[1:] == [cancellation(1)]
    rpc.receive(error(1, -32800, "Request cancelled"))
    assert not caplog.records
    rpc.receive(error(1, -32800, "Request cancelled"))
    assert "an answer with id 1, which nobody awaits" in caplog.text


async def test_a_timeout(rpc: VirtualRpc) -> None:
    """After its timeout a call fails with a `TimeoutError`, and is cancelled."""
    caller = rpc.caller.with_options(timeout=5)
    call = asyncio.create_task(caller.call("x"))
    await rpc.settle()
    rpc.session.run(4.9)
    await rpc.settle()
    assert not call.done()
    rpc.session.run(0.2)
    with pytest.raises(CallTimeout, match="'x' was not answered within 5 s") as caught:
        await call
    assert isinstance(caught.value, TimeoutError)
    assert rpc.sent[1:] == [cancellation(1)]
    answered = asyncio.create_task(caller.call("y"))
    await rpc.settle()
    rpc.receive(result(2, "in time"))
    assert await answered == "in time"
    rpc.session.run(10)
    assert len(rpc.sent) == 3


async def test_the_end_of_the_connection_fails_calls(rpc: VirtualRpc) -> None:
    """Calls without an answer fail with `CallLost`, which says that they may have run."""
    call = await start(rpc, "pay")
    stream = Subscriber(rpc.caller.stream("x"))
    rpc.session.peer.close(1011, "oops")
    await rpc.settle()
    with pytest.raises(
        CallLost, match="'pay' was answered: it may have run; a WebSocketSubject"
    ) as caught:
        await call
    assert caught.value.may_have_run
    assert isinstance(caught.value.__cause__, rxws.ConnectionClosed)
    assert isinstance(stream.error, CallLost)
    assert stream.error.may_have_run
    with pytest.raises(CallLost, match="was sent: it has not run; call it on a new connection"):
        await rpc.caller.call("later")
    with pytest.raises(CallLost, match="has not run"):
        rpc.caller.notify("later")
    assert isinstance(Subscriber(rpc.caller.stream("later")).error, CallLost)


async def test_an_idempotent_call_may_have_run(rpc: VirtualRpc) -> None:
    """On one connection, an idempotent call that was sent may have run, too."""
    call = asyncio.create_task(rpc.caller.with_options(idempotent=True).call("x"))
    await rpc.settle()
    rpc.session.peer.lost()
    await rpc.settle()
    with pytest.raises(CallLost) as caught:
        await call
    assert caught.value.may_have_run


async def test_a_call_while_the_connection_closes(rpc: VirtualRpc) -> None:
    """A call after the own close is not sent, and fails when the connection has ended."""
    rpc.conn.outgoing.on_completed()
    call = await start(rpc, "x")
    rpc.session.peer.close(1000)
    await rpc.settle()
    with pytest.raises(CallLost, match="has not run"):
        await call
    assert rpc.sent == []


async def test_calls_wait_for_the_other_side() -> None:
    """Calls of more bytes than the send buffer takes are sent as the other side reads them."""
    rpc = VirtualRpc(max_buffer=2000)
    rpc.session.peer.stop()
    large = "x" * 1000
    *calls, cancelled = [await start(rpc, "save", large) for _ in range(9)]
    rpc.caller.notify("done")
    cancelled.cancel()
    await rpc.settle()
    while len(rpc.sent) < 9:
        assert rpc.conn.flow.buffered < 2000
        rpc.session.peer.go(1)
        await rpc.settle()
    saved = [request(id_, "save", [large]) for id_ in range(1, 9)]
    assert rpc.sent == [*saved, notification("done")]
    rpc.receive([result(id_, id_) for id_ in range(1, 9)])
    assert [await call for call in calls] == list(range(1, 9))


async def test_a_call_that_waits_for_the_other_side_has_not_run() -> None:
    """If the connection ends before a call was sent, it fails with a `CallLost` that says so."""
    rpc = VirtualRpc()
    rpc.session.peer.stop()
    sent, unsent = await start(rpc, "x"), await start(rpc, "x")
    rpc.session.peer.lost()
    await rpc.settle()
    lost = [call.exception() for call in (sent, unsent)]
    assert [isinstance(each, CallLost) and each.may_have_run for each in lost] == [True, False]
    rpc.session.peer.go()


async def test_calls_are_bounded() -> None:
    """A call above `max_calls` raises, and is not sent."""
    rpc = VirtualRpc(max_calls=2)
    first, second = await start(rpc, "a"), await start(rpc, "b")
    with pytest.raises(TooManyCalls, match="'c' was not sent: 2 calls are unanswered"):
        await rpc.caller.call("c")
    assert isinstance(Subscriber(rpc.caller.stream("d")).error, TooManyCalls)
    rpc.receive(result(1, "x"))
    third = await start(rpc, "c")
    rpc.receive(result(2, "y"), result(rpc.sent[-1]["id"], "z"))
    assert [await first, await second, await third] == ["x", "y", "z"]


async def test_an_answer_to_a_message_that_could_not_be_read(
    rpc: VirtualRpc, caplog: pytest.LogCaptureFixture
) -> None:
    """An error with the id null is logged with its text."""
    rpc.receive(error(None, -32700, "Parse error"))
    assert "it could not read a message of ours: Parse error (-32700)" in caplog.text


async def test_a_typed_result(rpc: VirtualRpc) -> None:
    """`result` checks and converts results; a mismatch is a `DecodeError`."""
    caller = rpc.caller.with_options(result=list[float])
    good, bad = asyncio.create_task(caller.call("a")), asyncio.create_task(caller.call("b"))
    await rpc.settle()
    rpc.receive(result(1, [1, 2]), result(2, ["x"]))
    assert [type(each) for each in await good] == [float, float]
    with pytest.raises(
        rxws.DecodeError, match=r"does not match result=list\[float\]: Expected `fl.*"
    ):
        await bad


def test_wrong_options(rpc: VirtualRpc) -> None:
    """Wrong options of calls raise at once, and name themselves."""
    with pytest.raises(ValueError, match="timeout=0"):
        rpc.caller.with_options(timeout=0)
    with pytest.raises(ValueError, match="when_full='drop' is unknown: use one of"):
        rpc.caller.with_options(when_full="drop")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="idempotent='no' is not a bool: use True or False"):
        rpc.caller.with_options(idempotent="no")  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        rpc.caller.with_options(result=int | type)


def test_options_of_peers_and_of_calls(rpc: VirtualRpc) -> None:
    """An unknown option of a peer raises, and the error names the right one or its place."""
    conn: Any = rpc.conn
    with pytest.raises(TypeError, match=r"timeout= is an option of calls, .*with_options\(timeout"):
        rxws.rpc.Caller(conn, timeout=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"is not an option of rxws.rpc.Peer: use max_requests="):
        rxws.rpc.Peer(conn, max_request=5)  # type: ignore[call-arg]


def test_options_are_kept(rpc: VirtualRpc) -> None:
    """`with_options` changes what it is given, keeps the rest, and leaves the caller as it was."""
    slow = rpc.caller.with_options(timeout=5).with_options(idempotent=True)
    assert repr(slow) == "<Caller ws://peer.example/ timeout=5 idempotent=True>"
    assert repr(slow.with_options(timeout=None)) == "<Caller ws://peer.example/ idempotent=True>"
    assert repr(rpc.caller) == "<Caller ws://peer.example/>"


def test_errors_can_be_pickled() -> None:
    """Each error can be pickled, with its attributes."""
    for each in (
        ResponseError(1, "no", [2]),
        CallLost("x", may_have_run=True),
        CallTimeout("x", 1.5),
        TooManyCalls("x", 3),
        StreamOverflow("x", 3, 4),
    ):
        copy = pickle.loads(pickle.dumps(each))
        assert (type(copy), str(copy), vars(copy)) == (type(each), str(each), vars(each))


@pytest.mark.parametrize(("code", "message"), [("1", "x"), (True, "x"), (1, 2)])
def test_a_wrong_response_error(code: Any, message: Any) -> None:
    """The code of a `ResponseError` is an int, its message a str."""
    with pytest.raises(TypeError, match="of a ResponseError is"):
        ResponseError(code, message)


# --- notifications --------------------------------------------------------------------------------


async def test_notifications_both_ways(rpc: VirtualRpc) -> None:
    """`notify` sends without an id; `notifications` emits the params of one method."""
    rpc.caller.notify("a", 1)
    rpc.caller.notify("b", x=2)
    rpc.caller.notify("c")
    assert rpc.sent == [
        notification("a", [1]),
        notification("b", {"x": 2}),
        notification("c"),
    ]
    stream = rpc.caller.notifications("price")
    first, second = Subscriber(stream), Subscriber(stream)
    rpc.receive(notification("price", {"x": 1}), notification("other"), notification("price", [2]))
    first.subscription.dispose()
    rpc.receive(notification("price"))
    assert first.values == [{"x": 1}, [2]]
    assert second.values == [{"x": 1}, [2], None]
    second.subscription.dispose()
    rpc.receive(notification("price", [3]))
    third = Subscriber(stream)
    rpc.receive(notification("price", [4]))
    assert third.values == [[4]]
    rpc.session.peer.close(1000)
    await rpc.settle()
    assert third.ends == [None]
    assert Subscriber(stream).ends == [None]


async def test_notifications_fail_with_the_connection(rpc: VirtualRpc) -> None:
    """If the connection fails, the stream of notifications does, too."""
    stream = rpc.caller.notifications("price")
    subscriber = Subscriber(stream)
    rpc.session.peer.lost()
    await rpc.settle()
    assert isinstance(subscriber.error, rxws.ConnectionClosed)
    assert isinstance(Subscriber(stream).error, rxws.ConnectionClosed)


def test_typed_notifications(rpc: VirtualRpc) -> None:
    """`result` is the type of the params, too."""
    stream = rpc.caller.with_options(result=dict[str, float]).notifications("price")
    subscriber = Subscriber(stream)
    rpc.receive(notification("price", {"x": 1}), notification("price", ["x"]))
    assert subscriber.values == [{"x": 1.0}]
    assert isinstance(subscriber.error, rxws.DecodeError)


def test_a_method_and_a_subscriber_both_get_a_notification() -> None:
    """A notification runs the method of its name, and is emitted."""
    got: list[int] = []
    methods = rxws.rpc.Methods()
    methods.add(got.append, name="price")
    rpc = VirtualRpc(methods)
    subscriber = Subscriber(rpc.caller.notifications("price"))
    rpc.receive(notification("price", [1]))
    assert (got, subscriber.values) == ([1], [[1]])


async def test_slow_work_for_notifications_pauses_the_connection(rpc: VirtualRpc) -> None:
    """`map_async` behind notifications pauses the connection, as behind `incoming`."""
    release = asyncio.Event()

    async def work(params: Any) -> Any:
        await release.wait()
        return params

    mapped = Subscriber(rpc.caller.notifications("x").pipe(map_async(work)))
    rpc.receive(notification("x", [1]), notification("x", [2]))
    assert rpc.session.session.gate.held_by_user
    release.set()
    await rpc.settle()
    assert mapped.values == [[1], [2]]
    mapped.subscription.dispose()
    await rpc.settle()


# --- streams --------------------------------------------------------------------------------------


async def test_a_stream(rpc: VirtualRpc) -> None:
    """A stream calls with a token, emits the items as they come, and completes with the answer."""
    stream = rpc.caller.stream("count", to=4)
    assert rpc.sent == []
    items = Subscriber(stream)
    assert rpc.sent == [request(1, "count", {"to": 4, "partialResultToken": 1})]
    rpc.receive(progress(1, 0), progress(1, 1, 2), progress(1))
    assert items.values == [0, 1, 2]
    rpc.receive(result(1, None))
    assert items.notifications == [0, 1, 2, "|"]
    Subscriber(stream)
    assert rpc.sent[1]["id"] == rpc.sent[1]["params"]["partialResultToken"] == 2


@pytest.mark.parametrize(
    ("answer", "items"), [([3, 4], [3, 4]), ("all", ["all"]), ([], []), (None, [])]
)
async def test_a_server_without_partial_results(
    rpc: VirtualRpc, answer: Any, items: list[Any]
) -> None:
    """If the other side answers with all items, these are emitted."""
    stream = Subscriber(rpc.caller.stream("x"))
    rpc.receive(result(1, answer))
    assert stream.notifications == [*items, "|"]


async def test_a_stream_fails(rpc: VirtualRpc) -> None:
    """An error answer fails the stream after its items."""
    stream = Subscriber(rpc.caller.stream("x"))
    rpc.receive(progress(1, "a"), error(1, 1, "no"))
    assert stream.values == ["a"]
    assert isinstance(stream.error, ResponseError)


async def test_disposing_a_stream_cancels_it(
    rpc: VirtualRpc, caplog: pytest.LogCaptureFixture
) -> None:
    """A disposed stream is cancelled once; what still arrives is no mistake."""
    stream = Subscriber(rpc.caller.stream("x").pipe(ops.take(1)))
    rpc.receive(progress(1, "a", "b"))
    assert stream.notifications == ["a", "|"]
    assert rpc.sent[1:] == [cancellation(1)]
    stream.subscription.dispose()
    rpc.receive(progress(1, "c"), error(1, -32800, "Request cancelled"))
    assert len(rpc.sent) == 2
    assert not caplog.records


async def test_disposing_an_answered_stream_sends_nothing(rpc: VirtualRpc) -> None:
    """A stream that has ended is not cancelled."""
    stream = Subscriber(rpc.caller.stream("x"))
    rpc.receive(result(1, None))
    stream.subscription.dispose()
    assert len(rpc.sent) == 1


@pytest.mark.parametrize(
    "params",
    [
        {"token": "foreign", "value": [1]},
        {"token": True, "value": [1]},
        {"token": 99, "value": {"kind": "begin"}},
        {"value": [1]},
        [1, 2],
    ],
)
def test_progress_of_another_kind_is_ignored(
    rpc: VirtualRpc, caplog: pytest.LogCaptureFixture, params: Any
) -> None:
    """Progress that belongs to no stream is ignored, but can be observed as a notification."""
    other = Subscriber(rpc.caller.notifications("$/progress"))
    stream = Subscriber(rpc.caller.stream("x"))
    rpc.receive(notification("$/progress", params))
    assert (stream.values, other.values) == ([], [params])
    assert not caplog.records


async def test_progress_for_a_call_is_ignored(rpc: VirtualRpc) -> None:
    """A call that is no stream ignores items."""
    call = await start(rpc, "x")
    rpc.receive(progress(1, "a"), result(1, "b"))
    assert await call == "b"


def test_progress_with_one_value(rpc: VirtualRpc) -> None:
    """A value that is no array is one item."""
    stream = Subscriber(rpc.caller.stream("x"))
    rpc.receive(notification("$/progress", {"token": 1, "value": {"a": 1}}))
    assert stream.values == [{"a": 1}]


def test_typed_items(rpc: VirtualRpc) -> None:
    """`result` is the type of the items; a mismatch fails the stream, and cancels it."""
    stream = Subscriber(rpc.caller.with_options(result=float).stream("x"))
    rpc.receive(progress(1, 1, "x", 2))
    assert stream.values == [1.0]
    assert isinstance(stream.error, rxws.DecodeError)
    assert rpc.sent[1:] == [cancellation(1)]


def test_the_timeout_of_a_stream(rpc: VirtualRpc) -> None:
    """The timeout of a stream counts until its end."""
    stream = Subscriber(rpc.caller.with_options(timeout=2).stream("x"))
    rpc.session.run(1)
    rpc.receive(progress(1, "a"))
    rpc.session.run(1.5)
    assert stream.values == ["a"]
    assert isinstance(stream.error, CallTimeout)
    assert rpc.sent[1:] == [cancellation(1)]


def test_a_subscriber_that_raises(rpc: VirtualRpc) -> None:
    """If a subscriber of a stream raises, `conn.errors` emits the exception; other calls go on."""
    errors = Subscriber(rpc.conn.errors)

    def fail(item: Any) -> None:
        raise ValueError(item)

    rpc.caller.stream("x").subscribe(fail, fail, lambda: fail("end"))
    good = Subscriber(rpc.caller.stream("x"))
    rpc.receive(progress(1, "a"), progress(2, "b"), result(2, None))
    assert [str(each) for each in errors.values] == ["a"]
    assert good.notifications == ["b", "|"]


class Slow:
    """A slow subscriber of a stream: it takes one item each time the test lets it."""

    def __init__(self, rpc: VirtualRpc, stream: Any) -> None:
        self.rpc = rpc
        self.next = asyncio.Event()
        self.out: Subscriber[Any] = Subscriber(stream.pipe(map_async(self.work)))

    async def work(self, item: Any) -> Any:
        await self.next.wait()
        return item

    async def finish(self) -> list[Any]:
        self.next.set()
        for _ in range(10):
            await self.rpc.settle()
        return self.out.notifications


@pytest.mark.promise("rpc-slow")
async def test_items_wait_for_a_slow_subscriber(rpc: VirtualRpc) -> None:
    """While a subscriber is busy, the items wait, and other calls of the connection go on."""
    slow = Slow(rpc, rpc.caller.stream("x"))
    rpc.receive(*[progress(1, number) for number in range(20)])
    call = await start(rpc, "y")
    rpc.receive(result(2, "z"), result(1, None))
    assert await call == "z"
    assert slow.out.values == []
    assert await slow.finish() == [*range(20), "|"]


@pytest.mark.parametrize("options", [{"queue_items": 3}, {"queue_bytes": 250}])
async def test_a_full_queue_fails_the_stream(options: dict[str, Any]) -> None:
    """A stream whose queue stays full is cancelled; the error comes after the queued items."""
    rpc = VirtualRpc(**options)
    slow = Slow(rpc, rpc.caller.stream("x"))
    rpc.receive(*[progress(1, number) for number in range(9)])
    rpc.session.run(0.49)
    assert rpc.sent[1:] == []
    rpc.session.run(0.02)
    assert rpc.sent[1:] == [cancellation(1)]
    *values, last = await slow.finish()
    assert values == [0, 1, 2, 3, 4]
    assert isinstance(last, StreamOverflow)
    assert (last.method, last.items) == ("x", 4)
    assert rpc.peer.stats.calls == 0
    assert not rpc.session.session.gate.held_by_user


@pytest.mark.parametrize("complete", [False, True])
async def test_many_items_at_once_are_no_overflow(complete: bool) -> None:
    """A subscriber is not too slow because more items arrive at once than its queue takes."""
    rpc = VirtualRpc(queue_items=3)

    async def take() -> list[Any]:
        return [item async for item in rpc.caller.stream("x")]

    task = asyncio.create_task(take())
    await rpc.settle()
    items = list(range(20))
    if complete:  # by a server without partial results
        rpc.receive(result(1, items))
    else:
        rpc.receive(*[progress(1, item) for item in items], result(1, None))
    while not task.done():
        await rpc.settle()
    rpc.session.run(1)
    assert await task == items
    assert len(rpc.sent) == 1


async def test_a_lost_stream_no_longer_pauses_its_connection() -> None:
    """After the end of a stream, its queue does not hold other calls back."""
    rpc = VirtualRpc(queue_items=1)
    caller = rpc.caller.with_options(when_full="hold", timeout=2)
    slow = Slow(rpc, caller.stream("x"))
    rpc.receive(progress(1, 1, 2, 3))
    assert rpc.session.session.gate.held_by_user
    rpc.session.run(2.1)
    assert not rpc.session.session.gate.held_by_user
    *values, last = await slow.finish()
    assert values == [1, 2, 3]
    assert isinstance(last, CallTimeout)


_QUARTER = (1 << 20) // 4


@pytest.mark.parametrize(
    ("sizes", "full"),
    [
        ([100] * 1024, False),
        ([100] * 1025, True),
        ([_QUARTER] * 4, False),
        ([_QUARTER] * 3 + [_QUARTER + 1], True),
    ],
    ids=["1024 items", "1025 items", "1 MiB", "1 MiB and 1 byte"],
)
async def test_the_default_bounds_of_a_queue(rpc: VirtualRpc, sizes: list[int], full: bool) -> None:
    """By default, 1024 items or 1 MiB of one stream wait for its subscriber."""

    def message(size: int) -> str:
        text = json.dumps(progress(1, ""))
        return text.replace('""', f'"{"x" * (size - len(text))}"')

    slow = Slow(rpc, rpc.caller.stream("x"))
    rpc.receive(message(100), *map(message, sizes))  # the subscriber has the first one
    assert rpc.session.session.gate.held_by_user == full
    slow.out.subscription.dispose()
    await rpc.settle()


async def test_the_default_bound_of_calls(rpc: VirtualRpc) -> None:
    """By default, 1024 calls may be unanswered."""
    streams = [Subscriber(rpc.caller.stream("x")) for _ in range(1025)]
    assert [len(stream.ends) for stream in streams] == [0] * 1024 + [1]
    assert isinstance(streams[-1].error, TooManyCalls)


async def test_a_full_queue_pauses_the_connection() -> None:
    """With `when_full="hold"` the connection pauses instead, until the queue is half empty."""
    rpc = VirtualRpc(queue_items=3)
    slow = Slow(rpc, rpc.caller.with_options(when_full="hold").stream("x"))
    for number in range(9):
        rpc.receive(progress(1, number))
        assert rpc.session.session.gate.held_by_user == (number >= 4)
    rpc.receive(result(1, None))
    assert await slow.finish() == [*range(9), "|"]
    assert not rpc.session.session.gate.held_by_user
    assert len(rpc.sent) == 1


async def test_a_disposed_stream_releases_the_connection() -> None:
    """A stream that paused the connection resumes it when it is disposed."""
    rpc = VirtualRpc(queue_items=1)
    slow = Slow(rpc, rpc.caller.with_options(when_full="hold").stream("x"))
    rpc.receive(*[progress(1, number) for number in range(4)])
    assert rpc.session.session.gate.held_by_user
    slow.out.subscription.dispose()
    await rpc.settle()
    assert not rpc.session.session.gate.held_by_user
    assert rpc.sent[1:] == [cancellation(1)]


async def test_queued_items_come_before_the_loss(rpc: VirtualRpc) -> None:
    """If the connection is lost, a slow subscriber gets the queued items before the error."""
    slow = Slow(rpc, rpc.caller.stream("x"))
    rpc.receive(progress(1, 1), progress(1, 2))
    rpc.session.peer.lost()
    await rpc.settle()
    *values, last = await slow.finish()
    assert values == [1, 2]
    assert isinstance(last, CallLost)


async def test_async_for(rpc: VirtualRpc) -> None:
    """`async for` takes the items of a stream, and leaving the loop cancels it."""
    got: list[Any] = []

    async def take() -> None:
        async for item in rpc.caller.stream("x"):
            got.append(item)
            if item == 2:
                return

    task = asyncio.create_task(take())
    await rpc.settle()
    rpc.receive(progress(1, 1, 2, 3))
    await rpc.settle()
    await task
    await rpc.settle()
    assert got == [1, 2]
    assert rpc.sent[1:] == [cancellation(1)]


def test_an_ended_stream_leaves_its_chain(rpc: VirtualRpc) -> None:
    """An operator that pauses its sources does not keep a stream that has ended."""
    upstreams = Upstreams()
    with collect_upstreams(upstreams):
        Subscriber(rpc.caller.stream("a"))
        disposed = Subscriber(rpc.caller.stream("b"))
    assert len(upstreams) == 2
    rpc.receive(result(1, None))
    disposed.subscription.dispose()
    assert len(upstreams) == 0


async def test_cancelled_calls_are_remembered_up_to_a_limit(
    rpc: VirtualRpc, caplog: pytest.LogCaptureFixture
) -> None:
    """The answers to the last 1024 cancelled calls are no mistakes; earlier ones are unknown."""
    for _ in range(1025):
        Subscriber(rpc.caller.stream("x")).subscription.dispose()
    rpc.receive(*[error(id_, -32800, "Request cancelled") for id_ in range(2, 1026)])
    assert rpc.peer.stats.mistakes == {}
    rpc.receive(error(1, -32800, "Request cancelled"))
    assert rpc.peer.stats.mistakes == {"unknown answer": 1}


async def test_a_rate_limit_closes_the_connection_of_a_stream(rpc: VirtualRpc) -> None:
    """An operator that closes the connection of its source closes that of the stream."""
    limit = rxws.operators.rate_limit(1, per=10, excess=rxws.Close(1008, "slow down"))
    Subscriber(rpc.caller.stream("x").pipe(limit))
    rpc.receive(progress(1, 1), progress(1, 2))
    await rpc.settle()
    assert rpc.session.close_frame.code == 1008


async def test_dropped_items_are_counted(rpc: VirtualRpc) -> None:
    """An operator that drops items counts them at the connection."""
    limit = rxws.operators.rate_limit(1, per=10, excess="drop")
    limited = Subscriber(rpc.caller.stream("x").pipe(limit))
    rpc.receive(progress(1, 1), progress(1, 2))
    assert limited.values == [1]
    assert rpc.session.dropped == {"rate_limit": 1}


async def test_chains_use_the_time_of_the_connection(rpc: VirtualRpc) -> None:
    """Time operators behind a stream use the scheduler of the connection."""
    late = Subscriber(rpc.caller.stream("x").pipe(ops.delay(3)))
    rpc.receive(progress(1, "a"))
    rpc.session.run(2.9)
    assert late.values == []
    rpc.session.run(0.2)
    assert late.values == ["a"]


async def test_a_caller_answers_requests_with_unknown_method() -> None:
    """A peer without methods answers requests with -32601."""
    rpc = VirtualRpc(codec=codecs.text)
    assert rpc.ask(request(1, "x")) == [error(1, -32601, "Method not found")]


async def test_a_caller_of_a_connection(caplog: pytest.LogCaptureFixture) -> None:
    """A `Caller` may be made of a connection, without a `Peer`."""
    from support.virtual.session import VirtualSession

    session = VirtualSession()
    caller = rxws.rpc.Caller(session.conn, max_calls=1)
    call = asyncio.create_task(caller.call("x"))
    await asyncio.sleep(0)
    session.peer.message('{"jsonrpc":"2.0","id":1,"result":5}')
    assert await call == 5
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
