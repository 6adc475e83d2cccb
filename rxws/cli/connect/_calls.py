"""The option `--rpc`: each line calls a method by JSON-RPC 2.0."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal

import click

import rxws.rpc
from rxws._core.log import logger
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._format import as_json
from rxws.cli._link import Source

__all__ = ["COMMANDS", "Call", "Calls", "notifications", "parse_call"]

COMMANDS = {
    "/notify": ("METHOD ARGS", "call a method without an answer"),
    "/stream": ("METHOD {…}", "call a method, and show its items as they come"),
}
"""The arguments and the help of each further command."""

_decoder = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a method, with arguments by position or by name."""

    kind: Literal["call", "notify", "stream"]
    method: str
    args: tuple[Any, ...]
    named: dict[str, Any]


def parse_call(text: str) -> Call:
    """Parse `method 1 "two" three`, or `method {"by": "name"}`.

    An argument is JSON, or a word, which is a str.

    Raises:
        click.UsageError: There is no method, or a stream has arguments by position.
    """
    kind: Literal["call", "notify", "stream"] = "call"
    method, _, rest = text.strip().partition(" ")
    if method.startswith("/"):
        if method not in COMMANDS:
            raise click.UsageError(f"{method} is not a command: use one of {', '.join(COMMANDS)}.")
        kind = "notify" if method == "/notify" else "stream"
        method, _, rest = rest.strip().partition(" ")
    if not method:
        raise click.UsageError('Write a method and its arguments: add 1 2, or add {"a": 1}.')
    args = _arguments(rest)
    if len(args) == 1 and isinstance(args[0], dict):
        return Call(kind, method, (), args[0])  # pyright: ignore[reportUnknownArgumentType]
    if args and kind == "stream":
        raise click.UsageError(f'/stream {method}: give arguments by name: {{"count": 3}}.')
    return Call(kind, method, tuple(args), {})


def _arguments(text: str) -> list[Any]:
    found: list[Any] = []
    while text := text.strip():
        value, end = _first_argument(text)
        found.append(value)
        text = text[end:]
    return found


def _first_argument(text: str) -> tuple[Any, int]:
    """Return the first argument, and where it ends."""
    try:
        value, end = _decoder.raw_decode(text)
    except ValueError:
        pass
    else:
        if end == len(text) or text[end].isspace():
            return value, end
    word = text.split(maxsplit=1)[0]
    return word, len(word)


class Calls:
    """Calls methods of a server, and shows what it answers.

    Args:
        source: The connection, or the client.
        show: Called with each result and each item of a stream.
    """

    def __init__(self, source: Source, show: Callable[[Any], Awaitable[None]]) -> None:
        logger.setLevel(logging.ERROR)  # it would warn of the notifications that are shown
        self._caller = rxws.rpc.Caller(source)
        self._show = show

    async def run(self, call: Call) -> None:
        """Call a method, and show its result or its items.

        Raises:
            Failure: The server answered with an error.
        """
        caller, method = self._caller, call.method
        try:
            match call.kind:
                case "notify":
                    caller.notify(method, *call.args, **call.named)
                case "stream":
                    async for item in caller.stream(method, **call.named):
                        await self._show(item)
                case "call":
                    await self._show(await caller.call(method, *call.args, **call.named))
        except rxws.rpc.ResponseError as error:
            data = "" if error.data is None else f" {as_json(error.data)}"
            raise Failure(f"{method}: {error}{data}", ExitCode.ABNORMAL_CLOSE) from error


def notifications(frame: str | bytes) -> list[str]:
    """Return a line for each notification and request in a frame of the server."""
    try:
        message: Any = json.loads(frame)
    except ValueError:
        return []
    messages: list[Any] = [message]
    if isinstance(message, list):  # a batch
        messages = message  # pyright: ignore[reportUnknownVariableType]
    return [
        f"{method} {as_json(params)}"
        for method, params in map(_method_of, messages)
        if method is not None and method != "$/progress"
    ]


def _method_of(message: Any) -> tuple[str | None, Any]:
    match message:
        case {"method": str(method), "params": params}:
            return method, params
        case {"method": str(method)}:
            return method, []
        case _:
            return None, None
