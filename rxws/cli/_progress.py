"""The progress of a command that takes long."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Figures", "Rate", "progress", "row"]

_PER_SECOND = 5  # redraws
_WINDOW = 3.0  # seconds over which the rate is measured


@dataclass(frozen=True, slots=True)
class Figures:
    """The progress of a command.

    Args:
        count: How many messages there were.
        size: How many bytes.
        total: How many messages there will be, if known.
        share: Which part is done, from 0 to 1, if known; by default that of the messages.
        phase: The name of the current phase, if there are several.
        things: The name of the things that are counted.
    """

    count: int
    size: int | None = None
    total: int | None = None
    share: float | None = None
    phase: str = ""
    things: str = "messages"


class Rate:
    """Measures messages per second, over the last seconds."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def __call__(self, now: float, count: int) -> float:
        """Add a sample, and return the current rate; a lower count begins anew."""
        samples = self._samples
        if samples and count < samples[-1][1]:
            samples.clear()
        samples.append((now, count))
        while len(samples) > 2 and samples[1][0] <= now - _WINDOW:
            samples.popleft()
        began, before = samples[0]
        return (count - before) / (now - began) if now > began else 0.0


@contextmanager
def progress(
    figures: Callable[[], Figures], *, shown: bool = True, transient: bool = False
) -> Generator[None]:
    """Show the messages, their rate, the bytes and the time on stderr, if that is a terminal.

    Args:
        figures: Returns the current figures; called in a thread.
        shown: Whether to show it at all.
        transient: Whether to remove it at the end.
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
        return row(current, rate(now, current.count), now - began)

    with Live(
        get_renderable=draw,
        console=Console(stderr=True),
        refresh_per_second=_PER_SECOND,
        redirect_stdout=False,
        transient=transient,
    ):
        yield


def row(figures: Figures, rate: float, elapsed: float) -> Table:
    """Return the figures in one line, with a bar if a part is known."""
    from rich.filesize import decimal
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from rxws._recording.diagram.axis import clock

    count, total, share = figures.count, figures.total, figures.share
    if share is None and total is not None:
        share = count / total
    cells: list[str | ProgressBar] = [figures.phase] if figures.phase else []
    if share is not None:
        cells.append(ProgressBar(total=1.0, completed=share, width=20))
    cells.append(f"{count:,}{'' if total is None else f' of {total:,}'} {figures.things}")
    cells.append(f"{rate:,.0f}/s")
    if figures.size is not None:
        cells.append(decimal(figures.size))
    table = Table.grid(padding=(0, 2))
    table.add_row(*cells, clock(elapsed))
    return table
