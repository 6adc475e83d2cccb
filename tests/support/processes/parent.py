"""Processes that end with the process that has started them."""

from __future__ import annotations

import ctypes
import signal
import sys

__all__ = ["end_with_parent"]

_PR_SET_PDEATHSIG = 1
_libc: ctypes.CDLL | None = ctypes.CDLL(None) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Have this process killed when its parent's thread ends, also if either was stopped.

    Call it in the child, perhaps as `preexec_fn`. Elsewhere than on Linux it does nothing.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
