"""A command whose help teaches by example."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import click

__all__ = ["Command", "ConnectionOption", "Number", "write_examples"]


class ConnectionOption(click.Option):
    """An option that the help lists in a section of its own."""


class Number(click.FloatRange):
    """A number in a range.

    Args:
        unbounded: Whether it may be `inf`.
    """

    def __init__(self, *args: Any, unbounded: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.unbounded = unbounded

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Refuse NaN, which is in each range, and `inf`."""
        number: float = super().convert(value, param, ctx)
        if math.isnan(number) or (math.isinf(number) and not self.unbounded):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def write_examples(formatter: click.HelpFormatter, examples: Sequence[str]) -> None:
    """Write command lines, without wrapping them."""
    with formatter.section("Examples"):
        for example in examples:
            formatter.write(f"{'':{formatter.current_indent}}{example}\n")


def _texts(value: object) -> list[str]:
    """Return the texts of an option, which may be repeated, or have several parts."""
    if isinstance(value, tuple):
        return [text for part in cast("tuple[object, ...]", value) for text in _texts(part)]
    return [value] if isinstance(value, str) else []


class Command(click.Command):
    """A command with examples.

    Args:
        examples: Command lines. Each is run by a test.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **options: Any) -> None:
        super().__init__(*args, **options)
        self.examples = examples

    def invoke(self, ctx: click.Context) -> Any:
        """Refuse arguments that are not UTF-8, which no text of a WebSocket may contain."""
        for param in self.params:
            for text in _texts(ctx.params.get(param.name or "")):
                if not text.isprintable() and any("\ud800" <= char <= "\udfff" for char in text):
                    raise click.BadParameter(f"{text!r} is not UTF-8.", ctx, param)
        return super().invoke(ctx)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does, and the examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            write_examples(formatter, self.examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options of the command, and then those of its connection."""
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], "Connection": []}
        for option in self.get_params(ctx):
            record = option.get_help_record(ctx) if isinstance(option, click.Option) else None
            if record is not None:
                is_shared = isinstance(option, ConnectionOption)
                sections["Connection" if is_shared else "Options"].append(record)
        for name, records in sections.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)
