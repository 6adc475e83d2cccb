"""`rxws completion`: print a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from ._command import Command

__all__ = ["command"]


@click.command(
    "completion",
    cls=Command,
    examples=[
        'eval "$(rxws completion bash)"       # in ~/.bashrc',
        'eval "$(rxws completion zsh)"        # in ~/.zshrc',
        "rxws completion fish | source        # in ~/.config/fish/config.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands in a shell."""
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "rxws", "_RXWS_COMPLETE").source())
