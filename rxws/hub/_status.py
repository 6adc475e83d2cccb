"""Whether a hub is connected to the engine of its backplane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Away", "Connected", "HubStatus"]


@dataclass(frozen=True, slots=True)
class Connected:
    """The backplane works, with all of its engines."""


@dataclass(frozen=True, slots=True)
class Away:
    """The backplane's engine, or one of several, cannot be reached; connections stay open.

    Args:
        since: When it began, in seconds as `time.time()` returns them.
        cause: The exception that was raised.
    """

    since: float
    cause: Exception


HubStatus: TypeAlias = Connected | Away
