"""The methods that a page calls. Each page has a connection, and so a sandbox, of its own."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from reactivex import Observable

from rxws.rpc import ErrorCode, Methods, ResponseError

from ._feed import Budget
from ._pipeline import MAX_STEPS, OPTIONS, Pipeline
from ._presets import PRESETS
from ._room import Room
from ._sandbox import MAX_BURST, MAX_RATE, Sandbox
from ._steps import STEPS

__all__ = ["Visitor"]

_TICK = 0.05  # seconds between two batches of events


class Visitor:
    """One open page.

    The parameters of its methods are `Any`: what a page sends is checked here, with messages for
    the person who typed it.
    """

    def __init__(self, room: Room, links: dict[str, str]) -> None:
        self._room = room
        self._links = links
        self._said = Budget(2, 10)
        self._sandbox: Sandbox | None = None
        self._changing = asyncio.Lock()

    def methods(self) -> Methods:
        """Return what the page may call."""
        methods = Methods()
        for name in (
            "catalogue",
            "start",
            "events",
            "send",
            "rate",
            "close",
            "cut",
            "connect",
            "server",
            "speed",
            "picture",
            "join",
            "say",
        ):
            methods.add(_with_clear_errors(getattr(self, name)), name=name)
        return methods

    async def leave(self) -> None:
        """Stop the sandbox."""
        async with self._changing:
            await self._end()

    async def _end(self) -> None:
        sandbox, self._sandbox = self._sandbox, None
        if sandbox is not None:
            await sandbox.aclose()

    def catalogue(self) -> dict[str, Any]:
        """Describe the steps, the options and the limits."""
        return {
            "steps": [
                {
                    "name": step.name,
                    "title": step.title,
                    "about": step.about,
                    "parameters": {name: each.describe() for name, each in step.parameters.items()},
                }
                for step in STEPS.values()
            ],
            "presets": [asdict(preset) for preset in PRESETS],
            "options": {name: each.describe() for name, each in OPTIONS.items()},
            "links": self._links,
            "max_steps": MAX_STEPS,
            "max_burst": MAX_BURST,
            "max_rate": MAX_RATE,
        }

    async def start(self, steps: Any, options: Any) -> dict[str, Any]:
        """Replace the sandbox by one with this pipeline."""
        pipeline = Pipeline.parse(steps, options)
        async with self._changing:
            await self._end()
            sandbox = Sandbox(pipeline)
            await sandbox.start()
            self._sandbox = sandbox
        return {"lanes": pipeline.lanes(), "code": pipeline.code()}

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Yield what has happened on the sandbox since the last item."""
        sandbox = self._running()
        state: dict[str, Any] = {}
        while sandbox is self._sandbox:
            events, before = sandbox.feed.collect(), state
            state = sandbox.state()
            if events or state != before:
                yield {"events": events, "state": state}
            await asyncio.sleep(_TICK)

    def send(self, text: Any, count: Any) -> None:
        self._running().send(text, count)

    def rate(self, text: Any, rate: Any) -> None:
        self._running().set_rate(text, rate)

    def close(self, side: Any, code: Any, reason: Any) -> None:
        if side not in ("client", "server"):
            raise ValueError(f"the side is client or server, not {side!r:.40}")
        self._running().close(side, code, reason)

    def cut(self) -> None:
        self._running().cut()

    def connect(self) -> None:
        self._running().connect()

    async def server(self, running: Any) -> None:
        async with self._changing:
            await self._running().set_server(bool(running))

    def speed(self, speed: Any) -> None:
        self._running().set_speed(speed)

    def picture(self) -> str:
        """Draw the latest connection, as rxws draws recordings."""
        recording = self._running().recording
        if recording is None:
            raise ValueError("there was no connection yet")
        return recording.svg(900)

    def join(self, name: Any) -> Observable[Any]:
        return self._room.join(name)

    def say(self, name: Any, text: Any) -> None:
        if not self._said.take(1):
            raise ValueError("you are writing too fast: wait a moment")
        self._room.say(name, text)

    def _running(self) -> Sandbox:
        if self._sandbox is None:
            raise ValueError("no pipeline is running")
        return self._sandbox


def _with_clear_errors(method: Callable[..., Any]) -> Callable[..., Any]:
    """Answer a wrong value with the text of the error."""

    def as_answer(error: Exception) -> ResponseError:
        return ResponseError(ErrorCode.INVALID_PARAMS, str(error))

    if inspect.iscoroutinefunction(method):

        @functools.wraps(method)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            try:
                return await method(*args, **kwargs)
            except (ValueError, OSError) as error:
                raise as_answer(error) from error

        return call_async

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except ValueError as error:
            raise as_answer(error) from error

    return call
