"""Live output under a cell: shown once, then drawn anew as it changes, so often a second."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import uuid
from collections.abc import Callable

from rxws._core.log import logger

from . import notebook

__all__ = ["Display"]


class Display:
    """Something that is shown under a cell and drawn anew as it changes.

    Nothing is shown outside a Jupyter kernel. Where no event loop runs, nothing is drawn anew by
    itself.

    Args:
        render: Makes the mime bundle to be shown, as `{"text/html": …, "text/plain": …}`.
        state: What it is made of has changed when this does: cheap, as the count of events.
        rate: How often a second the state is looked at.

    Examples:
        ```python
        display = Display(lambda: {"text/plain": f"{count}"}, state=lambda: count)
        display.show()
        ...
        display.stop()
        ```
    """

    def __init__(
        self, render: Callable[[], dict[str, str]], *, state: Callable[[], object], rate: float = 8
    ) -> None:
        self.id = f"rxws-{uuid.uuid4().hex}"
        self.shown = False
        self._render = render
        self._state = state
        self._drawn: object = None
        self._every = 1 / rate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False

    @property
    def live(self) -> bool:
        """Whether it is looked at whether something changed."""
        return self._timer is not None

    def show(self) -> None:
        """Show it under the running cell, a further one too, and draw it anew as it changes."""
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
        self._thread = threading.get_ident()
        self._wait(self._loop)

    def update(self, force: bool = False) -> None:
        """Draw it anew if it has changed.

        Args:
            force: Also if it has not: for a cell that awaits what ended between two cells.
        """
        if self.shown and (force or self._state() != self._drawn):
            self._draw(update=True)

    def stop(self) -> None:
        """Draw it a last time and no more; from any thread, and as often as one likes."""
        if self._stopped:
            return
        self._stopped = True
        if self._loop is None or threading.get_ident() == self._thread:
            self._finish()
        else:
            try:
                self._loop.call_soon_threadsafe(self._finish, context=contextvars.Context())
            except RuntimeError:  # the loop is closed
                self._finish()

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        # An empty context: in that of a cell the update would be dropped once the cell has ended.
        self._timer = loop.call_later(self._every, self._look, loop, context=contextvars.Context())

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if not self._stopped:
            self.update()
        if not self._stopped:  # the state may tell that it is over
            self._wait(loop)

    def _finish(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        self.update()

    def _draw(self, update: bool) -> None:
        # Before it is drawn: what changes meanwhile is drawn the next time.
        self._drawn = self._state()
        try:
            notebook.show(self._render(), self.id, update)
        except Exception:  # it must not reach the flow that is drawn
            logger.exception("a picture could not be drawn")
