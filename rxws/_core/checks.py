"""Checks of options. A mistake raises at once, and the message names the option."""

from __future__ import annotations

import math

from reactivex.abc import SchedulerBase

__all__ = ["check_count", "check_port", "check_scheduler", "check_seconds"]


def check_seconds(
    name: str, value: object, hint: str = "use a number above 0", *, zero: bool = False
) -> None:
    """Raise unless an option is a finite number of seconds above 0, or 0 if `zero` allows it.

    The message ends with `hint`, which says what to use instead.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a number of seconds: {hint}")
    if not 0 < value < math.inf and not (zero and value == 0):
        raise ValueError(f"{name}={value!r} is not a duration in seconds: {hint}")


def check_count(name: str, value: object, unit: str) -> None:
    """Raise unless an option is an int of at least 1; `unit` is what it counts, in the plural."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a number of {unit}: use an int")
    if value < 1:
        raise ValueError(f"{name}={value!r}: use 1 or more {unit}")


def check_port(port: object) -> None:
    """Raise unless this is the number of a TCP port, or 0."""
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port={port!r} is not a port: use an int, or 0 for a free port")
    if not 0 <= port <= 65535:
        raise ValueError(f"port={port!r} is not a port: use 1 to 65535, or 0 for a free port")


def check_scheduler(scheduler: object) -> None:
    """Raise a TypeError unless a scheduler is one of RxPY, or None."""
    if scheduler is not None and not isinstance(scheduler, SchedulerBase):
        raise TypeError(f"scheduler={scheduler!r:.80}: use a scheduler of RxPY, or None")
