"""Live output below a cell: shown once, then redrawn when it has changed."""

from __future__ import annotations

import asyncio
import contextvars
import uuid
from collections.abc import Callable

from rxws._core.log import logger
from rxws._core.schedulers.loop_scheduler import running_loop

from . import notebook

__all__ = ["Display"]


class Display:
    """Output below a cell that is redrawn when it has changed.

    Outside a Jupyter kernel nothing is shown. Without a running event loop the output is redrawn
    only by `update` and `stop`.

    Args:
        render: Makes the mime bundle, such as `{"text/html": …, "text/plain": …}`.
        state: Returns a value that changes with the output, such as a count. It must be cheap.
        rate: How often `state` is checked for changes, per second.
    """

    def __init__(
        self, render: Callable[[], dict[str, str]], *, state: Callable[[], object], rate: float = 8
    ) -> None:
        self.id = f"rxws-{uuid.uuid4().hex}"
        self.shown = False
        self._render = render
        self._state = state
        self._drawn_state: object = None
        self._interval = 1 / rate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def live(self) -> bool:
        """Whether a timer checks for changes."""
        return self._timer is not None

    def show(self) -> None:
        """Show the output below the running cell, and start to redraw it.

        Call it again to show the same output below another cell.
        """
        if not notebook.in_kernel():
            return
        self._draw(update=False)
        self.shown = True
        if self._stopped or self._timer is not None:
            return
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        self._schedule(self._loop)

    def update(self, force: bool = False) -> None:
        """Redraw the output if it has changed, or if forced."""
        if self.shown and (force or self._state() != self._drawn_state):
            self._draw(update=True)

    def stop(self) -> None:
        """Redraw the output a last time, and stop. You may call it twice, and from any thread."""
        if self._stopped:
            return
        self._stopped = True
        if self._loop is None or running_loop() is self._loop:
            self._finish()
        else:
            try:
                self._loop.call_soon_threadsafe(self._finish, context=contextvars.Context())
            except RuntimeError:  # the loop is closed
                self._finish()

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        # In the cell's context, updates would be discarded once the cell has ended.
        self._timer = loop.call_later(
            self._interval, self._check, loop, context=contextvars.Context()
        )

    def _check(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if not self._stopped:
            self.update()
        if not self._stopped:  # `state` may have called stop()
            self._schedule(loop)

    def _finish(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self.update()

    def _draw(self, update: bool) -> None:
        # Read before rendering, so that a change during rendering is drawn next time.
        self._drawn_state = self._state()
        try:
            notebook.show(self._render(), self.id, update)
        except Exception:  # it must not reach the stream that is drawn
            logger.exception("could not draw the output of a notebook cell")
