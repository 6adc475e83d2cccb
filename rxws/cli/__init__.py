"""The command line: `rxws` and `python -m rxws`."""

import sys
from typing import NoReturn

__all__ = ["main"]

_PACKAGES = ("click", "prompt_toolkit", "rich", "watchfiles")


def main() -> NoReturn:
    """Run the command line with the arguments of the process, and exit with its code."""
    from ._exit_codes import ExitCode

    try:
        from ._main import root

        root.main(prog_name="rxws")
    except ModuleNotFoundError as exc:
        package = (exc.name or "").partition(".")[0]
        if package not in _PACKAGES:
            raise
        sys.stderr.write(
            f"rxws: the command line needs {package}, which is not installed. "
            "To install it, run: pip install 'rxws[cli]'\n"
        )
    sys.exit(ExitCode.USAGE)
