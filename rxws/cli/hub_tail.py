"""`rxws hub tail`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("tail")
def command() -> None:
    """Follow a topic."""
    raise click.ClickException("not implemented yet")
