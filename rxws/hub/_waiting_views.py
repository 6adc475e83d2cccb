"""The views of a topic that have not begun: they wait for the topic, or for its history."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Protocol

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from ._history import Kept, Ring
from ._history_reader import HistoryReader
from ._messages import Position
from ._topic_streams import TopicStreams
from ._turns import Turns
from ._view import View

__all__ = ["HistoryView", "ViewsHost", "WaitingViews"]


class HistoryView(Protocol):
    """A subscriber that begins with history; see `rxws.hub._view`."""

    @property
    def want(self) -> tuple[Position | None, int | None]:
        """The arguments `since` and `limit` of `Backplane.read`."""
        ...

    def begin_with(self, ring: Ring, oldest: float) -> bool:
        """Begin if the ring knows enough; return False if history must be read."""
        ...

    def on_kept(self, ring: Ring, kept: Kept | Exception) -> None:
        """Begin with what is kept."""
        ...


class ViewsHost(Protocol):
    """The interface of a topic to its views; see `AttachedTopic`."""

    @property
    def turns(self) -> Turns: ...
    @property
    def live(self) -> bool:
        """Whether views can begin."""
        ...

    @property
    def oldest(self) -> float:
        """When the oldest message was received that views may begin with."""
        ...

    def on_read(self, view: HistoryView, kept: Kept | Exception) -> bool:
        """Take note of what was read; return False if the view must wait for the next `begin`."""
        ...


class WaitingViews:
    """Lets the views of a topic begin: with the ring if it knows enough, or with what is kept."""

    __slots__ = ("_host", "_reader", "_ring", "_streams", "_turns", "_views")

    def __init__(self, host: ViewsHost, streams: TopicStreams, reader: HistoryReader) -> None:
        self._host = host
        self._streams = streams
        self._ring = streams.ring
        self._reader = reader
        self._turns = host.turns
        self._views: list[HistoryView] = []

    def __iter__(self) -> Iterator[HistoryView]:
        return iter(self._views)

    def subscribe(self, view: View) -> DisposableBase:
        """Subscribe a view to live events, and let it begin."""
        self.add(view)
        subscription = self._streams.events.subscribe(view)

        def dispose() -> None:
            view.end()
            if view in self._views:
                self._views.remove(view)
            subscription.dispose()

        return Disposable(dispose)

    def add(self, view: HistoryView) -> None:
        """Let a view begin: in the next turn, or after the next call of `begin`."""
        if self._host.live:
            self._turns.add(partial(self._begin, view))
        else:
            self._views.append(view)

    def take(self) -> list[HistoryView]:
        """Return the views that wait, and forget them."""
        views, self._views = self._views, []
        return views

    def begin(self) -> None:
        """Let all views begin in the next turn, if the topic is live."""
        for view in self.take():
            self.add(view)

    def start(self, view: HistoryView, kept: Kept | Exception) -> None:
        """Let a view begin now, within a notification of the dispatcher."""
        view.on_kept(self._ring, kept)
        self._emit(view)

    def _begin(self, view: HistoryView) -> bool:
        if not self._host.live:
            self._views.append(view)
        elif view.begin_with(self._ring, self._host.oldest):
            self._emit(view)
        else:
            since, limit = view.want
            kept = self._reader.latest(since, limit)
            if kept is not None and self._ring.after(kept.top) is not None:
                self.start(view, kept)
            elif self._reader.reading:
                self._reader.call_when_read(partial(self.add, view))
            else:
                self._reader.want(since, limit, partial(self._on_read, view))
        return False

    def _on_read(self, view: HistoryView, kept: Kept | Exception) -> None:
        self._turns.add(partial(self._begin_with, view, kept))

    def _begin_with(self, view: HistoryView, kept: Kept | Exception) -> bool:
        if self._host.on_read(view, kept):
            self.start(view, kept)
        else:
            self._views.append(view)
        return False

    def _emit(self, view: HistoryView) -> None:
        if isinstance(view, View):
            self._turns.start(partial(self._emit_more, view))

    def _emit_more(self, view: View) -> bool:
        more = view.emit_more(self._turns)
        if view.waits:  # the ring has lost what came after the history
            self.add(view)
        return more
