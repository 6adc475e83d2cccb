"""`rxws replay`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("replay")
def command() -> None:
    """Replay a recording, as a client or as a server."""
    raise click.ClickException("not implemented yet")
