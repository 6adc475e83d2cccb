"""`rxws demo`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("demo")
def command() -> None:
    """Open the playground in a browser."""
    raise click.ClickException("not implemented yet")
