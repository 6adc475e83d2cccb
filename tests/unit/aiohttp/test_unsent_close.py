"""A close of ours that the kernel has not taken when TCP is lost: nobody can have heard of it."""

from __future__ import annotations

import pytest

import rxws
from support.peers.endpoints import ConnectionSubscriber
from support.peers.fake_tcp import PushConnection, loop_turns, push_connection
from support.peers.frames import Op, frame


async def closing(one: PushConnection, takes: bool) -> ConnectionSubscriber:
    """Reply to a message with others and a close, all in one write; the kernel takes it or not."""
    session = one.session()
    seen = ConnectionSubscriber(session.connection)

    def reply(_: str) -> None:
        for number in range(3):
            seen.conn.outgoing.on_next(str(number))
        seen.conn.outgoing.on_next(rxws.Close(4001, "why"))

    seen.conn.incoming.subscribe(reply, lambda _: None)
    one.start(session)
    await loop_turns(1)
    one.line.takes = takes
    one.line.arrive(frame(Op.TEXT, b"go", mask=bytes(4)))
    await loop_turns()
    assert len(one.line.writes) == 1
    assert [each.opcode for each in one.line.frames] == [Op.TEXT] * 3 + [Op.CLOSE]
    assert not seen.ends
    return seen


def lose(one: PushConnection, how: str) -> None:
    (one.line.eof if how == "fin" else one.line.reset)()


@pytest.mark.promise("cut")
@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_a_close_that_waits_for_the_kernel(how: str) -> None:
    """It is a loss, as it is where the close still waits behind messages of ours."""
    async with push_connection(start=False) as one:
        seen = await closing(one, takes=False)
        lose(one, how)
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        assert isinstance(seen.error, rxws.ConnectionClosed)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_close_that_the_kernel_took(how: str, late: bool) -> None:
    """It keeps its code, whether it was taken at once or after a while."""
    async with push_connection(start=False) as one:
        seen = await closing(one, takes=not late)
        if late:
            one.line.take()
        lose(one, how)
        close = await seen.end()
        assert (close, close.by) == (rxws.Close(4001, "why"), "local")
        assert seen.error is None
