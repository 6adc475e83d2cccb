"""Checks of options, so that a mistake raises at once and names the option."""

from __future__ import annotations

import math

__all__ = ["check_bytes", "check_seconds"]


def check_seconds(name: str, value: object, hint: str = "use a number above 0") -> None:
    """Raise unless an option is a finite number of seconds above 0; `hint` ends the message."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a number of seconds: {hint}")
    if not 0 < value < math.inf:
        raise ValueError(f"{name}={value!r} is not a duration in seconds: {hint}")


def check_bytes(name: str, value: object) -> None:
    """Raise unless an option is a number of bytes, 1 or more."""
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name}={value!r} is not a number of bytes: use an int")
    if value < 1:
        raise ValueError(f"{name}={value!r} is not a limit in bytes: use 1 byte or more")
