"""`rxws record`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("record")
def command() -> None:
    """Record a connection in a file."""
    raise click.ClickException("not implemented yet")
