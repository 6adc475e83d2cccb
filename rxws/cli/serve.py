"""`rxws serve`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("serve")
def command() -> None:
    """Serve a handler."""
    raise click.ClickException("not implemented yet")
