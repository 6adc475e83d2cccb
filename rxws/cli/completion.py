"""`rxws completion`: print a shell's completion script."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

__all__ = ["command"]


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    r"""Print the script that completes commands in a shell.

    \b
    Examples:
      bash:  eval "$(rxws completion bash)"      in ~/.bashrc
      zsh:   eval "$(rxws completion zsh)"       in ~/.zshrc
      fish:  rxws completion fish | source       in ~/.config/fish/config.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    root = ctx.find_root()
    click.echo(kind(root.command, {}, "rxws", "_RXWS_COMPLETE").source())
