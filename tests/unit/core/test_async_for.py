"""`async for` over the streams of rxws, without `iterate`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from reactivex import operators as ops

from rxws import Close, ConnectionClosed, codecs, status
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject


class Loop:
    """An `async for` loop in a task.

    Args:
        stream: The stream.
        settle: Delivers what waits, in virtual time.
        leave_after: The number of values after which the loop breaks.
        error: Raised instead of breaking.
    """

    def __init__(
        self,
        stream: Any,
        settle: Callable[[], object],
        leave_after: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self.got: list[Any] = []
        self.busy = asyncio.Event()  # set while the body may finish
        self.busy.set()
        self._settle = settle
        self._leave_after = leave_after
        self._error = error
        self.task = asyncio.ensure_future(self._run(stream))

    async def _run(self, stream: Any) -> None:
        async for value in stream:
            self.got.append(value)
            await self.busy.wait()
            if len(self.got) == self._leave_after:
                if self._error is not None:
                    raise self._error
                break

    async def turns(self) -> None:
        """Let the loop run until nothing more happens."""
        for _ in range(10):
            await asyncio.sleep(0)
            self._settle()


async def test_a_loop_over_incoming_ends_with_the_connection() -> None:
    """`async for message in conn.incoming` yields all messages; a clean close ends it."""
    virtual = VirtualSession()
    loop = Loop(virtual.conn.incoming, virtual.settle)
    virtual.peer.message("a", "b")
    await loop.turns()
    virtual.peer.message("c")
    virtual.peer.close(1000)
    await loop.turns()
    await loop.task
    assert loop.got == ["a", "b", "c"]


@pytest.mark.promise("loop")
async def test_a_loop_over_incoming_raises_its_error() -> None:
    """If the peer closes with an error, the loop raises ConnectionClosed after the messages."""
    virtual = VirtualSession()
    loop = Loop(virtual.conn.incoming, virtual.settle)
    virtual.peer.message("a")
    virtual.peer.close(4001)
    await loop.turns()
    with pytest.raises(ConnectionClosed) as caught:
        await loop.task
    assert caught.value.close == Close(4001)
    assert loop.got == ["a"]


@pytest.mark.promise("loop")
async def test_the_connection_is_paused_while_the_body_runs() -> None:
    """While the body runs, no further message is delivered, and reading pauses when many wait."""
    virtual = VirtualSession(high_water=10)
    loop = Loop(virtual.conn.incoming, virtual.settle)
    await loop.turns()
    loop.busy.clear()
    virtual.peer.message("a")
    await loop.turns()
    virtual.peer.message(*["x" * 10] * 3)
    await loop.turns()
    assert loop.got == ["a"]
    assert not virtual.transport.reading
    loop.busy.set()
    await loop.turns()
    assert loop.got == ["a", *["x" * 10] * 3]
    assert virtual.transport.reading
    loop.task.cancel()


@pytest.mark.parametrize("error", [None, ValueError("left")], ids=["break", "exception"])
async def test_leaving_a_loop_unsubscribes(error: Exception | None) -> None:
    """`break` and an exception unsubscribe at once; the next loop gets the next message."""
    virtual = VirtualSession()
    virtual.peer.message("a", "b", "c")
    loop = Loop(virtual.conn.incoming, virtual.settle, leave_after=1, error=error)
    await loop.turns()
    assert loop.got == ["a"]
    assert loop.task.exception() is error
    assert not virtual.session.incoming.observed
    second = Loop(virtual.conn.incoming, virtual.settle, leave_after=2)
    await second.turns()
    assert second.got == ["b", "c"]
    assert virtual.dropped == {}


async def test_two_loops_in_one_coroutine_share_the_messages_in_order() -> None:
    """A loop that follows another one at once continues with the next message."""
    virtual = VirtualSession()
    got: list[str] = []

    async def loops() -> None:
        async for message in virtual.conn.incoming:
            got.append(message)
            if message == "b":
                break
        got.extend([message async for message in virtual.conn.incoming])

    task = asyncio.ensure_future(loops())
    for message in "abcd":
        virtual.peer.message(message)
        await asyncio.sleep(0)
    virtual.peer.close(1000)
    for _ in range(20):
        await asyncio.sleep(0)
        virtual.settle()
    await task
    assert got == list("abcd")


@pytest.mark.promise("timeout")
async def test_a_cancelled_loop_loses_no_message() -> None:
    """A message that arrives while the loop is being cancelled stays for the next subscriber."""
    virtual = VirtualSession()
    loop = Loop(virtual.conn.incoming, virtual.settle)
    await loop.turns()
    virtual.peer.message("a")  # the loop has not resumed yet
    loop.task.cancel()
    await asyncio.wait([loop.task])
    assert loop.got == []
    second = Loop(virtual.conn.incoming, virtual.settle, leave_after=1)
    await second.turns()
    assert second.got == ["a"]
    assert virtual.dropped == {}


async def test_a_chain_behind_incoming_may_be_looped_over() -> None:
    """`async for` takes a chain of operators behind `incoming`, too, and pauses the connection."""
    virtual = VirtualSession()
    loop = Loop(virtual.conn.incoming.pipe(ops.map(str.upper)), virtual.settle, leave_after=3)
    await loop.turns()
    loop.busy.clear()
    virtual.peer.message("a", "b", "c")
    await loop.turns()
    assert loop.got == ["A"]
    assert virtual.session.gate.held
    loop.busy.set()
    await loop.turns()
    assert loop.got == ["A", "B", "C"]


async def test_closed_and_errors_may_be_looped_over() -> None:
    """The other streams of a connection are async iterables, too."""
    virtual = VirtualSession(codec=codecs.json)
    virtual.conn.incoming.subscribe()
    errors = Loop(virtual.conn.errors, virtual.settle)
    closed = Loop(virtual.conn.closed, virtual.settle)
    await errors.turns()
    virtual.peer.message("no JSON")
    virtual.peer.close(1000)
    await errors.turns()
    await errors.task
    await closed.task
    assert [type(error).__name__ for error in errors.got] == ["DecodeError"]
    assert closed.got == [Close(1000)]


async def test_a_loop_over_a_subject_opens_its_connection() -> None:
    """A loop over a `WebSocketSubject` opens the connection; leaving the loop closes it."""
    virtual = VirtualSubject()
    loop = Loop(virtual.feed, virtual.run, leave_after=2)
    await loop.turns()
    loop.busy.clear()
    virtual.dials[0].peer.message("a", "b")
    await loop.turns()
    assert loop.got == ["a"]
    assert virtual.conn.flow.stats.received_messages == 2
    loop.busy.set()
    await loop.turns()
    assert loop.got == ["a", "b"]
    await loop.task
    virtual.answer_close(virtual.dials[0])
    virtual.check_nothing_left()


@pytest.mark.promise("loop")
async def test_a_loop_over_a_subject_continues_on_the_next_connection() -> None:
    """A loop goes on when the subject reconnects, and raises the error when it gives up."""
    virtual = VirtualSubject()
    loop = Loop(virtual.feed, virtual.run)
    await loop.turns()
    virtual.dials[0].peer.message("a")
    await loop.turns()
    virtual.dials[0].peer.lost()
    await loop.turns()
    virtual.run(1)
    virtual.dials[1].peer.message("b")
    await loop.turns()
    virtual.dials[1].peer.close(4001)
    await loop.turns()
    with pytest.raises(ConnectionClosed, match="4001"):
        await loop.task
    assert loop.got == ["a", "b"]


@pytest.mark.promise("loop")
async def test_a_loop_over_a_channel_pauses_the_connection() -> None:
    """A loop over a channel yields the channel's messages, and pauses the shared connection."""
    virtual = VirtualSubject()
    channel = virtual.feed.channel("+a", "-a", lambda value: value.startswith("a"))
    loop = Loop(channel, virtual.run, leave_after=2)
    await loop.turns()
    loop.busy.clear()
    virtual.dials[0].peer.message("a1", "b1", "a2")
    await loop.turns()
    assert loop.got == ["a1"]
    loop.busy.set()
    await loop.turns()
    assert loop.got == ["a1", "a2"]
    assert [sent.message for sent in virtual.dials[0].transport.sent][:2] == ["+a", "-a"]
    virtual.answer_close(virtual.dials[0])
    virtual.check_nothing_left()


async def test_a_loop_over_the_status_sees_each_status() -> None:
    """`async for status in feed.status` yields the current status, and each one that follows."""
    virtual = VirtualSubject()
    loop = Loop(virtual.feed.status, virtual.run)
    await loop.turns()
    subscription = virtual.feed.subscribe()
    await loop.turns()
    assert [type(each) for each in loop.got] == [status.Closed, status.Connecting, status.Open]
    loop.task.cancel()
    subscription.dispose()
    virtual.answer_close(virtual.dials[0])
    virtual.check_nothing_left()
