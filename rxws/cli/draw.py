"""`rxws draw`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("draw")
def command() -> None:
    """Draw a recording as a marble diagram."""
    raise click.ClickException("not implemented yet")
