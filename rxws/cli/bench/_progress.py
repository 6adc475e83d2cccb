"""Show how far a load has come, on a terminal."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from ._load import Load, Plan

__all__ = ["showing_progress"]

_INTERVAL = 0.2  # seconds


@asynccontextmanager
async def showing_progress(load: Load, plan: Plan) -> AsyncGenerator[None]:
    """Show the progress of a load on stderr, and remove it at the end."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figures]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("opening", total=1.0, figures="")

        def update() -> None:
            done, figures = _state(load, plan)
            progress.update(task, description=load.phase.name, completed=done, figures=figures)

        async def keep_updating() -> None:
            while True:
                update()
                await asyncio.sleep(_INTERVAL)

        updating = asyncio.create_task(keep_updating())
        try:
            yield
        finally:
            updating.cancel()


def _state(load: Load, plan: Plan) -> tuple[float, str]:
    """Return the share that is done, and the figures."""
    results, began = load.results, load.phase.began
    if began is None:
        opened = results.opening.count + results.failures.total()
        return opened / plan.connections, f"{opened:,}/{plan.connections:,} connections"
    seconds = time.perf_counter() - began
    count = results.sent if plan.one_way else results.answered
    by_count = results.sent / plan.messages if plan.messages else 0.0
    figures = f"{count:,} messages, {count / max(seconds, 0.001):,.0f}/s"
    return max(min(seconds / plan.seconds, 1.0), by_count), figures
