"""The command line: `rxws` and `python -m rxws`."""

import os
import sys
from typing import NoReturn

__all__ = ["main"]

_PACKAGES = ("click", "prompt_toolkit", "rich", "watchfiles")


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit with its code."""
    from ._exit_codes import ExitCode

    _open_missing_streams()

    try:
        from ._main import root

        root.main(prog_name="rxws")
    except KeyboardInterrupt:  # during an import; click handles a later one
        sys.exit(ExitCode.INTERRUPTED)
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        sys.stderr.write(
            f"rxws: the command line needs {package}, which is not installed. "
            "To install it, run: pip install 'rxws[cli]'\n"
        )
    sys.exit(ExitCode.USAGE)


def _open_missing_streams() -> None:
    """Replace standard streams that the shell has closed, as by `>&-`, by an empty one.

    Otherwise, they are None, and the next socket would get the file descriptor of stdout.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
