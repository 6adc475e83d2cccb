"""`rxws bench`."""

from __future__ import annotations

import click

__all__ = ["command"]


@click.command("bench")
def command() -> None:
    """Measure the latency and the throughput of a server."""
    raise click.ClickException("not implemented yet")
