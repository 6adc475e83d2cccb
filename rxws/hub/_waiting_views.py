"""The views of a topic that have not begun: they wait for the topic, or for its history."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from reactivex.abc import DisposableBase
from reactivex.disposable import Disposable

from rxws._core.streams.stream import Dispatcher, call_each

from ._history import Kept, Ring
from ._history_reader import HistoryReader
from ._messages import Position
from ._topic_streams import TopicStreams
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
    def dispatcher(self) -> Dispatcher: ...
    @property
    def live(self) -> bool:
        """Whether views can begin."""
        ...

    @property
    def oldest(self) -> float:
        """When the oldest message was received that views may begin with."""
        ...

    def post(self, action: Callable[[], object]) -> object:
        """Call in the next turn."""
        ...

    def on_read(self, view: HistoryView, kept: Kept | Exception) -> bool:
        """Take note of what was read; return False if the view must wait for the next `begin`."""
        ...


class WaitingViews:
    """Lets the views of a topic begin: with the ring if it knows enough, or with what is kept."""

    __slots__ = ("_host", "_reader", "_ring", "_scheduled", "_streams", "_views")

    def __init__(self, host: ViewsHost, streams: TopicStreams, reader: HistoryReader) -> None:
        self._host = host
        self._streams = streams
        self._ring = streams.ring
        self._reader = reader
        self._views: list[HistoryView] = []
        self._scheduled = False  # whether `begin` runs in the next turn

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
        self._views.append(view)
        if self._host.live and not self._scheduled:
            self._scheduled = True
            self._host.post(self.begin)

    def take(self) -> list[HistoryView]:
        """Return the views that wait, and forget them."""
        views, self._views = self._views, []
        return views

    def begin(self) -> None:
        """Let all views begin, if the topic is live."""
        self._scheduled = False
        if self._host.live:
            call_each(partial(self._host.dispatcher.post, self._begin), self.take())

    def _begin(self, view: HistoryView) -> None:
        if view.begin_with(self._ring, self._host.oldest):
            return
        since, limit = view.want
        kept = self._reader.latest(since, limit)
        if kept is not None and self._ring.after(kept.top) is not None:
            view.on_kept(self._ring, kept)
        else:
            self._reader.want(since, limit, partial(self._begin_read, view))

    def _begin_read(self, view: HistoryView, kept: Kept | Exception) -> None:
        if self._host.on_read(view, kept):
            self._host.dispatcher.post(view.on_kept, self._ring, kept)
        else:
            self._views.append(view)
