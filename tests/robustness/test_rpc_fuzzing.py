"""Random and malformed messages for a peer of `rxws.rpc`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import reactivex as rx
from hypothesis import example, given
from hypothesis import strategies as st

import rxws
from rxws._session.session import State
from rxws.rpc._messages import decode
from support.virtual.rpc import VirtualRpc

METHODS = ["add", "fail", "bad", "answer", "nope", "$/cancelRequest", "$/progress", "rpc.x", ""]

scalars: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=8,
)
ids = st.sampled_from([1, 2, "a", 1.5, None]) | values
params = (
    st.lists(st.integers(), max_size=3)
    | st.fixed_dictionaries(
        {}, optional={"a": values, "b": st.integers(), "partialResultToken": ids, "id": ids}
    )
    | st.fixed_dictionaries({"token": ids, "value": values})
    | values
)
objects = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "2.0", "2.0", "1.0", 2.0, None]),
        "id": ids,
        "method": st.sampled_from(METHODS) | values,
        "params": params,
        "result": values,
        "error": values | st.fixed_dictionaries({"code": values, "message": values}),
        "extra": values,
    },
)
messages = objects | st.lists(objects | values, max_size=5) | values
frames: st.SearchStrategy[str | bytes] = (
    messages.map(json.dumps)
    | messages.map(lambda message: json.dumps(message).encode())
    | st.text(max_size=30)
    | st.binary(max_size=30)
    | st.builds(lambda message, cut: json.dumps(message)[:cut], objects, st.integers(0, 60))
)


ASYNC_METHODS = ["later", "fail_later", "forever", "items", "fail_items", "stuck", "observable"]
requests = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "method": st.sampled_from(ASYNC_METHODS)},
    optional={
        "id": st.sampled_from([1, 2, "a"]),
        "params": st.fixed_dictionaries({}, optional={"partialResultToken": ids}),
    },
)
cancellations = st.sampled_from([1, 2, "a", None]).map(
    lambda id_: {"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": id_}}
)
turns = st.just(None)  # let the methods run
async_frames: st.SearchStrategy[str | bytes | None] = (
    (requests | cancellations | st.lists(requests | cancellations | objects, min_size=1)).map(
        json.dumps
    )
    | turns
    | frames
)


def methods() -> rxws.rpc.Methods:
    made = rxws.rpc.Methods()

    @made.add
    def add(a: int, b: int = 1) -> int:
        return a + b

    @made.add
    def fail() -> None:
        raise ValueError("secret")

    made.add(lambda: object(), name="bad")
    made.add(lambda: rxws.rpc.ResponseError(1, "not raised"), name="answer")
    return made


def async_methods() -> rxws.rpc.Methods:
    made = rxws.rpc.Methods()

    @made.add
    async def later() -> int:
        await asyncio.sleep(0)
        return 1

    @made.add
    async def fail_later() -> None:
        await asyncio.sleep(0)
        raise ValueError("secret")

    @made.add
    async def forever() -> None:
        await asyncio.get_running_loop().create_future()

    @made.add
    async def items() -> AsyncIterator[int]:
        yield 1
        await asyncio.sleep(0)
        yield 2

    @made.add
    async def fail_items() -> AsyncIterator[int]:
        yield 1
        raise ValueError("secret")

    @made.add
    async def stuck() -> AsyncIterator[object]:
        try:
            yield 1
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)

    made.add(lambda: rx.of(1, 2), name="observable")
    return made


def expected_answers(frame: str | bytes) -> int:
    """Return how many answers the specification wants for the frame."""
    try:
        data = decode(frame)
    except (ValueError, RecursionError):
        return 1
    return sum(map(is_answered, data)) if isinstance(data, list) and data else is_answered(data)


def is_answered(message: Any) -> int:
    """Return 1 for a request and for an invalid message, 0 for a notification or an answer."""
    if not isinstance(message, dict):
        return 1
    id_ = message.get("id")
    legal_id = isinstance(id_, str | int | float | None) and not isinstance(id_, bool)
    if "method" not in message:
        return int(not ("result" in message or "error" in message)) if legal_id else 0
    notification = (
        "id" not in message
        and isinstance(message["method"], str)
        and message.get("jsonrpc") == "2.0"
        and ("params" not in message or isinstance(message["params"], list | dict))
    )
    return int(not notification)


def check_answer(answer: Any) -> None:
    """Check that an answer is what the specification allows."""
    assert answer["jsonrpc"] == "2.0"
    assert "id" in answer
    assert ("result" in answer) != ("error" in answer)
    assert set(answer) <= {"jsonrpc", "id", "result", "error"}
    if "error" in answer:
        assert isinstance(answer["error"]["code"], int)
        assert isinstance(answer["error"]["message"], str)
        assert "secret" not in answer["error"]["message"]


@pytest.mark.promise("rpc-mistakes")
@given(st.lists(frames, max_size=6))
@example(["[" * 100_000])
@example(['{"jsonrpc":"2.0","id":"\\ud800","method":"add"}'])
@example([b"\xff\xfe", "[]", "[[]]", "[1e999]", '{"id":1e999}'])
def test_any_message_gets_a_valid_answer_or_none(received: list[str | bytes]) -> None:
    """Whatever arrives is answered as the specification says, and the connection stays open."""
    rpc = VirtualRpc(methods())
    for frame in received:
        answers = rpc.ask(frame)
        flat = [one for each in answers for one in (each if isinstance(each, list) else [each])]
        for answer in flat:
            check_answer(answer)
        assert len(answers) <= 1
        assert len(flat) == expected_answers(frame)
    assert rpc.session.session.state is State.OPEN
    assert rpc.ask('{"jsonrpc":"2.0","id":1,"method":"add","params":[1]}') == [
        {"jsonrpc": "2.0", "id": 1, "result": 2}
    ]
    assert rpc.peer.stats.running == rpc.peer.stats.calls == 0


@pytest.mark.promise("rpc-mistakes")
@given(st.lists(async_frames, max_size=8))
def test_async_methods_answer_each_request_once(received: list[str | bytes | None]) -> None:
    """Coroutines and generators answer each request once, also if they are cancelled."""

    async def check() -> None:
        rpc = VirtualRpc(async_methods())
        expected = 0
        for frame in received:
            if frame is None:
                await rpc.settle()
            else:
                rpc.receive(frame)
                expected += expected_answers(frame)
        await rpc.settle()
        rpc.peer.dispose()
        await rpc.settle()
        flat = [one for each in rpc.sent for one in (each if isinstance(each, list) else [each])]
        items = [one for one in flat if one.get("method") == "$/progress"]
        answers = [one for one in flat if one not in items]
        for answer in answers:
            check_answer(answer)
        assert len(answers) == expected
        assert all(item["params"]["value"] in ([1], [2]) for item in items)
        assert rpc.session.session.state is State.OPEN
        assert rpc.peer.stats.running == 0
        await rpc.end()

    asyncio.run(check())


@given(st.lists(frames, max_size=4))
def test_a_caller_survives_any_answer(received: list[str | bytes]) -> None:
    """A stream that is waiting survives all messages, or ends once, as an answer says."""
    rpc = VirtualRpc()
    ends: list[Exception | None] = []
    rpc.caller.stream("x").subscribe(None, ends.append, lambda: ends.append(None))
    for frame in received:
        rpc.receive(frame)
    assert len(ends) <= 1
    assert rpc.session.session.state is State.OPEN
