"""A close frame that the kernel has not taken when TCP is lost."""

from __future__ import annotations

import pytest

import rxws
from support.peers.endpoints import ConnectionSubscriber
from support.peers.fake_tcp import PushConnection, loop_turns, push_connection
from support.peers.frames import Op, frame


async def reply_with_close(one: PushConnection, takes: bool) -> ConnectionSubscriber:
    """Answer a message with three others and a close, in one write."""
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
async def test_a_close_that_the_kernel_has_not_taken_is_a_loss(how: str) -> None:
    """If TCP is lost before the kernel accepts our close frame, `closed` reports 1006."""
    async with push_connection(start=False) as one:
        seen = await reply_with_close(one, takes=False)
        lose(one, how)
        close = await seen.end()
        assert (close.code, close.by) == (1006, "network")
        assert isinstance(seen.error, rxws.ConnectionClosed)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("late", [False, True])
async def test_a_close_that_the_kernel_took_keeps_its_code(how: str, late: bool) -> None:
    """If TCP is lost after the kernel took our close frame, our code stands."""
    async with push_connection(start=False) as one:
        seen = await reply_with_close(one, takes=not late)
        if late:
            one.line.take()
        lose(one, how)
        close = await seen.end()
        assert (close, close.by) == (rxws.Close(4001, "why"), "local")
        assert seen.error is None
