"""The tasks of a connection: when they are cancelled, and how long they are waited for."""

from __future__ import annotations

import asyncio

from rxws._aiohttp.transport.tasks import Tasks
from support.peers.fake_tcp import loop_turns
from support.receiver import RecordingReceiver


class Work:
    """A coroutine that waits until it is cancelled, and cleans up for some turns of the loop."""

    def __init__(self) -> None:
        self.log: list[str] = []

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.log.append("cancelled")
            await loop_turns(20)
            self.log.append("clean")


async def test_finish_cancels_each_task_and_waits_for_it() -> None:
    """`finish` cancels the tasks that nobody has cancelled, and waits for all."""
    tasks, works = Tasks(), [Work(), Work()]
    loop = asyncio.get_running_loop()
    disposables = [tasks.spawn(loop, work.run()) for work in works]
    await loop_turns()
    disposables[0].dispose()
    disposables[0].dispose()
    await loop_turns()
    await tasks.finish(RecordingReceiver())
    assert [work.log for work in works] == [["cancelled", "clean"]] * 2


async def test_a_task_that_may_finish_is_not_cancelled() -> None:
    """`finish` waits for a task of `let_finish`, also one that it got while waiting."""
    tasks, late = Tasks(), list[asyncio.Task[None]]()

    async def clean_up() -> None:
        await loop_turns(20)

    async def clean_up_in_turn() -> None:
        await loop_turns()
        late.append(asyncio.create_task(clean_up()))
        tasks.let_finish(late[0])

    first = asyncio.create_task(clean_up_in_turn())
    tasks.let_finish(first)
    await tasks.finish(RecordingReceiver())
    assert first.done()
    assert late[0].done()
    assert not first.cancelled()
    assert not late[0].cancelled()


async def test_a_task_that_does_not_end_is_reported_once() -> None:
    """A task that does not end in time is reported, and no longer waited for."""
    tasks, release = Tasks(), asyncio.Event()

    async def stick() -> None:
        await release.wait()

    stuck = asyncio.create_task(stick())
    tasks.let_finish(stuck)
    receiver = RecordingReceiver()
    receiver.cleanup_timeout = 0.01
    await tasks.finish(receiver)
    assert receiver.notifications == [("unfinished", 1)]
    tasks.stop_waiting()
    release.set()
    await stuck


async def test_stop_waiting_ends_the_wait_at_once() -> None:
    """`stop_waiting` ends a wait, and reports the tasks that are still running."""
    tasks, work = Tasks(), Work()
    tasks.spawn(asyncio.get_running_loop(), work.run())
    await loop_turns()
    receiver = RecordingReceiver()
    asyncio.get_running_loop().call_soon(tasks.stop_waiting)
    asyncio.get_running_loop().call_soon(tasks.stop_waiting)
    await tasks.finish(receiver)
    assert receiver.notifications == [("unfinished", 1)]
    await loop_turns(30)
    assert work.log == ["cancelled", "clean"]
