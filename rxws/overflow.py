"""What happens to a message that would lift the outbound buffer above its bound."""

from __future__ import annotations

from typing import Literal, get_args

__all__ = ["OVERHEAD", "Overflow", "check"]

OVERHEAD = 128
"""Bytes that each message counts besides its payload, so that tiny ones are bounded too."""

Overflow = Literal["close"]
"""`"close"`: the connection ends with 1013 "Try Again Later", as nothing may be lost unseen."""


def check(policy: str) -> None:
    """Refuse a policy that does not exist.

    Raises:
        ValueError: There is no such policy.
    """
    if policy not in get_args(Overflow):
        raise ValueError(f"overflow={policy!r} is unknown: use one of {get_args(Overflow)}")
