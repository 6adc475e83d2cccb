"""What `rxws connect` does with an open connection."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, assert_never

import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws.cli._entries import Help, Ping, Send, list_commands
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure, as_failure
from rxws.cli._link import Link, describe, open_link
from rxws.cli._output import Output, note
from rxws.cli._run import unless_stopped
from rxws.operators import map_async

from ._calls import Call, Calls, notifications
from ._console import Console, Pipe
from ._plan import Action, Plan

__all__ = ["talk"]

_WAIT = 1.0  # seconds


async def talk(plan: Plan, file: Output | None, stop: asyncio.Event) -> ExitCode:
    """Connect, and send and show messages until the end.

    Raises:
        Failure: The connection ended abnormally, or before the messages came that were asked for.
        click.UsageError: A message is a wrong command.
        OSError: A file cannot be written; BrokenPipeError if nobody reads stdout any more.
        TimeoutError: The connection was not opened in time.
    """
    loop = asyncio.get_running_loop()
    deadline = None if plan.timeout is None else loop.time() + plan.timeout
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        async with asyncio.timeout_at(deadline):
            opening = stack.enter_async_context(open_link(plan.target, plan.reconnect))
            link = await unless_stopped(stop, opening)
        console = stack.enter_context(_open_console(plan, file, stop))
        try:
            await _Conversation(plan, link, console).run(stop, deadline)
        except Exception as error:  # out here it would close with 1011
            failure = error
    if failure is not None:
        raise failure
    if link.end is not None and plan.talkative:
        note(describe(link.end))
    return ExitCode.DONE


def _open_console(plan: Plan, file: Output | None, stop: asyncio.Event) -> Console:
    if not plan.interactive:
        return Pipe(plan, file)
    from ._prompt import Prompt  # importing it takes a while

    return Prompt(plan, file, stop)


class _Conversation:
    """Messages in both directions."""

    def __init__(self, plan: Plan, link: Link, console: Console) -> None:
        self._plan = plan
        self._link = link
        self._console = console
        self._calls = Calls(link.source, self._show) if plan.rpc else None
        self._shown = 0  # messages
        self._background = set[asyncio.Task[None]]()

    async def run(self, stop: asyncio.Event, deadline: float | None) -> None:
        """Run until the connection ends, the messages have come, the input ends, or `stop`.

        Raises:
            Exception: See `talk`.
        """
        loop = asyncio.get_running_loop()
        self._greet()
        receiving = loop.create_task(self._receive())
        sending = loop.create_task(self._send())
        stopping = loop.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait(
                [receiving, sending, stopping],
                timeout=None if deadline is None else deadline - loop.time(),
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            self._console.end()
            tasks = {receiving, sending, stopping, *self._background}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        if receiving in done:
            self._check_end(receiving)
        elif stopping not in done:
            if sending in done:
                sending.result()
                if self._plan.interactive or self._plan.count is None:
                    return
            raise self._too_few("timed out", ExitCode.TIMED_OUT)

    def _check_end(self, receiving: asyncio.Task[None]) -> None:
        """Raise an error if the connection ended abnormally, or too early."""
        try:
            receiving.result()
        except rxws.ConnectionClosed as error:
            raise self._too_few(describe(error.close), ExitCode.ABNORMAL_CLOSE) from error
        count, link = self._plan.count, self._link
        if count is not None and self._shown < count and link.end and not link.closed_here:
            raise self._too_few(describe(link.end), ExitCode.ABNORMAL_CLOSE)

    def _too_few(self, what: str, code: ExitCode) -> Failure:
        count = self._plan.count
        return Failure(
            what if count is None else f"{what}, after {self._shown} of {count} messages", code
        )

    def _greet(self) -> None:
        link, show = self._link, self._console.note
        link.statuses.subscribe(lambda status: show(repr(status)))
        if link.connection is not None and self._plan.talkative:
            show(_greeting(link.connection.handshake, self._plan))

    async def _receive(self) -> None:
        """Show what arrives, until the end."""
        shown: Observable[Any]
        failure: Exception | None = None

        def complete(error: Exception, _: Any) -> Observable[Any]:
            nonlocal failure
            failure = error
            return rx.empty()

        if self._calls is not None:
            shown = self._link.incoming.pipe(ops.do_action(self._show_notifications))
        else:
            count, values = self._plan.count, self._plan.chain(self._link.incoming)
            # An error would cancel `_show` of the messages before it.
            shown = values.pipe(ops.catch(complete), map_async(self._show))
            if count is not None:
                shown = shown.pipe(ops.take(count))
        await shown.pipe(ops.last_or_default(None))
        if failure is not None:
            raise failure

    def _show_notifications(self, frame: Any) -> None:
        for each in notifications(frame):
            self._console.note(each)

    async def _show(self, value: Any) -> None:
        self._shown += 1
        await self._console.show(self._plan.format(value, self._link.elapsed()))

    async def _send(self) -> None:
        """Do what the input says; then wait for replies."""
        plan = self._plan
        try:
            async for action in self._console.actions():
                await self._perform(action)
        except rxws.ConnectionClosed:  # which `_receive` reports, after the last message
            await asyncio.Future()
        if plan.interactive:
            return
        seconds = plan.wait
        if seconds is None:
            seconds = 0 if plan.rpc else _WAIT if plan.count is None else None
        await asyncio.wait([asyncio.Future()], timeout=seconds)

    async def _perform(self, action: Action) -> None:
        match action:
            case Send(data) if self._plan.interactive:
                self._link.send(data)
            case Send(data):
                await self._link.send_and_drain(data)
            case rxws.Close():
                self._link.close(action)
            case Help():
                self._console.note(list_commands(self._plan.commands))
            case Ping():
                await self._wait_for(self._ping())
            case Call():
                assert self._calls is not None
                await self._wait_for(self._calls.run(action))
            case _:
                assert_never(action)

    async def _wait_for(self, answer: Coroutine[Any, Any, None]) -> None:
        """Wait for an answer, but do not keep a person waiting: they may type on."""
        if not self._plan.interactive:
            await answer
            return
        task = asyncio.create_task(self._report(answer))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _report(self, answer: Coroutine[Any, Any, None]) -> None:
        """Show an error instead of raising it."""
        try:
            await answer
        except Exception as error:
            failure = as_failure(error)
            if failure is None:
                raise
            self._console.note(failure.message)

    async def _ping(self) -> None:
        self._console.note(f"pong after {await self._link.ping() * 1000:.1f} ms")


def _greeting(handshake: rxws.Handshake, plan: Plan) -> str:
    lines = [f"connected to {handshake.url}"]
    if handshake.subprotocol is not None:
        lines[0] += f", subprotocol {handshake.subprotocol}"
    if plan.verbose:
        lines += [f"  {name}: {value}" for name, value in handshake.headers.items()]
    if plan.interactive:
        lines.append("/help lists the commands, Ctrl-D closes")
    return "\n".join(lines)
