"""The progress of a command that takes long."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Figures", "Rate", "progress"]

_PER_SECOND = 5  # redraws
_WINDOW = 3.0  # seconds over which the rate is measured


class Figures(NamedTuple):
    """The progress of a command."""

    messages: int
    size: int  # bytes


class Rate:
    """Measures messages per second, over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def __call__(self, now: float, messages: int) -> float:
        """Add a sample, and return the current rate."""
        samples = self._samples
        samples.append((now, messages))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW:
            samples.popleft()
        began, before = samples[0]
        return (messages - before) / (now - began) if now > began else 0.0


@contextmanager
def progress(
    figures: Callable[[], Figures], total: int | None = None, *, shown: bool = True
) -> Generator[None]:
    """Show the messages, their rate, the bytes and the time on stderr, if that is a terminal.

    Args:
        figures: Returns the current figures; called in a thread.
        total: The number of messages at the end, if known.
        shown: Whether to show it at all.
    """
    if not shown or not sys.stderr.isatty():
        yield
        return
    # Importing them takes a while.
    from rich.console import Console
    from rich.live import Live

    began, rate = monotonic(), Rate()

    def draw() -> Table:
        now = monotonic()
        current = figures()
        return _row(current, total, rate(now, current.messages), now - began)

    with Live(
        get_renderable=draw,
        console=Console(stderr=True),
        refresh_per_second=_PER_SECOND,
        redirect_stdout=False,
    ):
        yield


def _row(figures: Figures, total: int | None, rate: float, elapsed: float) -> Table:
    from rich.filesize import decimal
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from rxws._recording.diagram.axis import clock

    row = Table.grid(padding=(0, 2))
    cells = [
        f"{figures.messages:,}{'' if total is None else f' of {total:,}'} messages",
        f"{rate:,.0f}/s",
        decimal(figures.size),
        clock(elapsed),
    ]
    if total is not None:
        row.add_row(ProgressBar(total=total, completed=figures.messages, width=20), *cells)
    else:
        row.add_row(*cells)
    return row
