"""The views that each notebook cell started, so that running the cell again stops them."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["Running", "of_type", "register", "stop_all", "unregister"]

_running: list[Running] = []


class Running(Protocol):
    """A live view that can be stopped."""

    cell: str | None  # None outside a notebook: no other view stops this one
    run: str | None  # which run of the cell

    def stop(self) -> None:
        """Stop the view; calling it again has no effect."""
        ...


R = TypeVar("R")


def register(view: Running) -> None:
    """Register a view, and stop the views of earlier runs of its cell."""
    if view.cell is not None:
        for other in tuple(_running):
            if other.cell == view.cell and other.run != view.run:
                other.stop()
    _running.append(view)


def unregister(view: Running) -> None:
    """Remove a view that has ended."""
    _running[:] = [other for other in _running if other is not view]


def of_type(kind: type[R]) -> list[R]:
    """Return the running views of this type, oldest first."""
    return [view for view in _running if isinstance(view, kind)]


def stop_all() -> None:
    """Stop all live diagrams and tables, and dispose their subscriptions.

    Examples:
        >>> import reactivex as rx
        >>> import rxws.viz
        >>> view = rxws.viz.watch(rx.never())
        >>> rxws.viz.stop_all()
        >>> view.state
        'stopped'
    """
    for view in tuple(_running):
        view.stop()
