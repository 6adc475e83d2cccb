"""What `watch` returns: a picture that grows under its cell until the flow ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, Literal

from reactivex.abc import DisposableBase
from reactivex.disposable import SingleAssignmentDisposable

from rxws._core.connection import Close
from rxws._recording.recording import Recording
from rxws.viz import notebook, running
from rxws.viz.display import Display

from .failures import Failure, Said, failed, faults, remark

__all__ = ["View"]

ViewState = Literal["running", "ended", "failed", "stopped"]


class View:
    """A live marble diagram; `watch` makes it.

    `await view` waits for the end of the flow and returns None, also where it failed. Interrupting
    the cell that awaits stops the view.

    Attributes:
        recording: What was seen so far.
        state: `"running"`, `"ended"`, `"failed"` or `"stopped"`.
        error: What the flow failed with, or None.

    Examples:
        ```python
        view = rxws.viz.watch(conn.incoming, ops.map(json.loads), ops.debounce(0.15))
        await view
        ```
    """

    def __init__(
        self,
        recording: Recording,
        *,
        window: float | None,
        rate: float,
        hint: Callable[[], str] = str,
        over: Callable[[], bool] | None = None,
    ) -> None:
        self.recording = recording
        self.state: ViewState = "running"
        self.error: Exception | None = None
        self.cell = notebook.cell_of_now()
        self.run = notebook.run_of_now()
        self._window = window
        self._hint: Callable[[], str] = hint
        self._over = over
        self._every = 1 / rate
        self._failure: Failure | None = None
        self._subscription = SingleAssignmentDisposable()
        self._display = Display(self._bundle, state=self._look, rate=rate)
        self._shown_in: set[str | None] = set()
        self._waiters: list[asyncio.Future[None]] = []

    # --- for watch --------------------------------------------------------------------------

    def begin(self, subscribe: Callable[[], DisposableBase]) -> None:
        """Show it, and then subscribe what feeds it."""
        running.begin(self)
        self._show()
        try:
            self._subscription.disposable = subscribe()
        except Exception as exc:
            self.end(Failure(exc, "subscribe"))
        self._look()  # outside a notebook nobody else does
        self._display.update()

    def end(self, failure: Failure | None = None) -> None:
        """Draw the end of the flow."""
        self._finish("ended" if failure is None else "failed", failure)

    # --- for users --------------------------------------------------------------------------

    def stop(self) -> None:
        """Watch no more, and draw a last time; the second time nothing happens."""
        self._finish("stopped")

    def svg(self, width: int = 760) -> str:
        """Draw it as SVG.

        Args:
            width: Its width in pixels.

        Returns:
            SVG of the latest `window` seconds.
        """
        return self.recording.svg(width, self._window)

    def text(self, cols: int = 48) -> str:
        """Draw it as text, with what is said below the picture.

        Args:
            cols: The columns that it may take, without the names.

        Returns:
            Lines of text.
        """
        return "\n".join([self.recording.text(cols), *(said.text for said in self._said())])

    def __await__(self) -> Generator[Any, None, None]:
        return self._wait().__await__()

    def __repr__(self) -> str:
        title = f" {self.recording.title!r}:" if self.recording.title else ""
        lanes = "".join(
            f" {lane.name} {lane.dropped + sum(note.type == 'next' for note in lane.notes)},"
            for lane in self.recording.lanes.values()
            if lane.name != "closed" and (lane.name != "errors" or len(lane) > lane.ended)
        )
        return f"<View{title}{lanes} {self._state_said()}>"

    def __str__(self) -> str:
        return self.text()

    def _repr_mimebundle_(self, **_: object) -> dict[str, str]:
        return self._bundle()

    def _ipython_display_(self) -> None:
        if not notebook.in_kernel():
            raise NotImplementedError  # as IPython asks of whose output it shall show itself
        if notebook.run_of_now() not in self._shown_in:
            self._show()

    # --- its parts --------------------------------------------------------------------------

    def _show(self) -> None:
        self._shown_in.add(notebook.run_of_now())
        self._display.show()

    def _finish(self, state: ViewState, failure: Failure | None = None) -> None:
        if self.state != "running":
            return
        self.state = state
        self._failure = failure
        running.end(self)
        try:
            self._subscription.dispose()
        except Exception as exc:  # of the user's, as in finally_action; the source must not see it
            if self._failure is None:
                self.state, self._failure = "failed", Failure(exc, "dispose")
        self.error = self._failure.error if self._failure else None
        self._hint, self._over = str, None  # they hold on to what was watched
        self._display.stop()
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.get_loop().call_soon_threadsafe(_release, waiter)

    async def _wait(self) -> None:
        try:
            while self.state == "running":
                waiter = asyncio.get_running_loop().create_future()
                self._waiters.append(waiter)
                # Of a recording nobody tells when it ends.
                await asyncio.wait([waiter], timeout=self._every if self._over else None)
                self._look()
        except BaseException:
            self.stop()
            raise
        finally:
            # Where it ended between two cells, that picture was not kept in a file.
            self._display.update(force=True)

    def _look(self) -> object:
        """What the picture is made of, to be compared."""
        if self._over is not None and self._over():
            self.end()
        return self.recording.count, self.state, self._hint()

    def _bundle(self) -> dict[str, str]:
        said = "".join(said.html for said in self._said())
        if said:
            said = (
                '<div class="rxws" style="font:13px/1.5 system-ui,sans-serif;max-width:760px;'
                f'padding:2px 6px 6px">{said}</div>'
            )
        return {"text/html": self.svg() + said, "text/plain": self.text()}

    def _said(self) -> list[Said]:
        """What is said below the picture."""
        said: list[Said] = []
        if hint := self._hint():
            said.append(remark(hint))
        if self._failure is not None:
            said.append(failed(self._failure))
        lane = self.recording.lanes.get("errors")
        if lane is not None and len(lane) > lane.ended:
            errors = [note.data for note in lane.notes if note.type == "next"]
            if all(isinstance(error, Exception) for error in errors):
                said.append(faults(errors))
        return said

    def _state_said(self) -> str:
        if self._failure is not None:
            return f"failed {type(self._failure.error).__name__}"
        lane = self.recording.lanes.get("closed")
        closes = [note.data for note in lane.notes if isinstance(note.data, Close)] if lane else []
        return f"{self.state} {closes[-1].code}" if closes else self.state


def _release(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
