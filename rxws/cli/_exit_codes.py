"""The exit codes of all commands."""

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """How a command ended; `$?` in a shell."""

    DONE = 0
    ABNORMAL_CLOSE = 1
    COULD_NOT_CONNECT = 2
    TIMED_OUT = 3
    USAGE = 64  # EX_USAGE of sysexits.h
    INTERRUPTED = 130  # 128 + SIGINT, as shells report it
