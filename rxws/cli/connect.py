"""`rxws connect`."""

from __future__ import annotations

import click

from ._connection import Target, connection_options

__all__ = ["command"]


@click.command("connect")
@connection_options
def command(target: Target) -> None:
    """Talk to a server, from the keyboard or in a pipe."""
    raise click.ClickException("not implemented yet")
