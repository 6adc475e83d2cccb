"""What runs in this notebook, and under which cell: what a cell's next run stops."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["Running", "begin", "end", "running", "stop_all"]

_running: list[Running] = []


class Running(Protocol):
    """What is shown live until it is stopped."""

    cell: str | None  # None outside a notebook: then nothing is stopped by another's beginning
    run: str | None

    def stop(self) -> None:
        """Stop; the second time nothing happens."""
        ...


R = TypeVar("R")


def begin(it: Running) -> None:
    """Let something run, instead of what earlier runs of its cell left running."""
    if it.cell is not None:
        for other in tuple(_running):
            if other.cell == it.cell and other.run != it.run:
                other.stop()
    _running.append(it)


def end(it: Running) -> None:
    """Let something run no more."""
    _running[:] = [other for other in _running if other is not it]


def running(kind: type[R]) -> list[R]:
    """Return what runs, the oldest first."""
    return [it for it in _running if isinstance(it, kind)]


def stop_all() -> None:
    """Stop all that is shown live, views and tables alike; nothing of it runs on.

    Examples:
        ```python
        rxws.viz.stop_all()
        ```
    """
    for it in tuple(_running):
        it.stop()
