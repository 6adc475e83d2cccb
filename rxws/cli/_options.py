"""The options that several commands have, besides those of a connection."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import click

from ._entries import parse_message

__all__ = ["first_messages", "listening", "message_count", "reconnect", "styles"]

_Decorator: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]

reconnect = click.option(
    "--reconnect", is_flag=True, help="Connect again when the connection is lost."
)
"""Add `--reconnect`."""


def message_count(text: str) -> _Decorator:
    """Add `-n`, as `count`."""
    return click.option("-n", "--count", type=click.IntRange(1), metavar="N", help=text)


def first_messages(text: str) -> _Decorator:
    """Add `-m`, as `messages`: texts or bytes to send first."""
    return click.option(
        "messages",
        "-m",
        "--message",
        type=parse_message,
        metavar="TEXT",
        multiple=True,
        help=text,
    )


def styles(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--json`, `--pretty` and `--raw`, as `style`, which is a `Style` or None."""
    for value, text in (
        ("raw", "Print messages unchanged, without line feeds."),
        ("pretty", "Print JSON with line breaks."),
        ("json", "Print each message as one line of JSON."),
    ):
        function = click.option("style", f"--{value}", flag_value=value, help=text)(function)
    return function


def listening(port: int) -> _Decorator:
    """Add `--host` and `--port`, with this default."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        function = click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=port,
            show_default=True,
            help="The port to listen on; 0 for a free one.",
        )(function)
        return click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="The address to listen on; 0.0.0.0 for all of this machine.",
        )(function)

    return decorate
