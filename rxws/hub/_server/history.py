"""Executes the command `history`."""

from __future__ import annotations

from functools import partial

from reactivex.abc import SchedulerBase

from rxws._core.schedulers.timers import call_later
from rxws.hub._backplane import History
from rxws.hub._messages import Position
from rxws.hub._protocol.codes import ErrorCode, ErrorReply
from rxws.hub._protocol.frames import reply_with_publications
from rxws.hub._protocol.schema import HistoryRequest, HistoryResult

from .owner import INTERNAL, Answer, Owner
from .payloads import NotText
from .served import Served

__all__ = ["HistoryAnswer"]

_PAGE = 250  # messages that are handled in one turn


class HistoryAnswer:
    """Reads the messages that a client asks for page by page, and no others."""

    def __init__(
        self,
        owner: Owner,
        served: Served,
        scheduler: SchedulerBase,
        id_: int,
        request: HistoryRequest,
    ) -> None:
        self._owner = owner
        self._topics = served.topics
        self._scheduler = scheduler
        self._id = id_
        self._request = request
        self._max_size = served.max_reply
        if served.hub.keep_of(request.channel).count:
            self._begin()
        else:
            self._done(ErrorReply.of(ErrorCode.NOT_AVAILABLE, "the channel keeps no messages"))

    def _done(self, answer: Answer) -> None:
        self._owner.finish(self._id, self._request.channel, answer)

    def _begin(self) -> None:
        self._texts: list[str] = []
        self._size = 0
        backplane = self._topics.hub.backplane
        backplane.read(self._request.channel, None, 0, self._on_top)

    def _on_top(self, history: History | Exception) -> None:
        """Find out which messages are meant, now that the newest position is known."""
        if isinstance(history, Exception):
            self._done(INTERNAL)
            return
        request, since, self._top = self._request, self._request.since, history.top
        if since is not None and since.epoch not in ("", self._top.epoch):
            self._done(ErrorReply.of(ErrorCode.UNRECOVERABLE_POSITION))
            return
        newest = self._top.offset
        after = 0 if since is None else since.offset
        self._until = newest
        self._limit = newest if request.limit < 0 else request.limit
        if request.reverse:
            self._until = newest if since is None else max(min(after - 1, newest), 0)
            self._limit = min(self._limit, self._until)
            after = self._until - self._limit
        if self._limit or (since is not None and not request.reverse):
            self._read(after)
        else:
            self._finish()

    def _read(self, after: int) -> None:
        count = min(self._limit - len(self._texts), _PAGE)
        self._topics.hub.backplane.read(
            self._request.channel,
            Position(self._top.epoch, after),
            count,
            partial(self._on_page, count),
            oldest=True,
        )

    def _on_page(self, count: int, history: History | Exception) -> None:
        if isinstance(history, Exception):
            self._done(INTERNAL)
            return
        if history.top.epoch != self._top.epoch:
            self._begin()
            return
        request, page = self._request, history.publications
        if not history.complete:
            if request.since is not None and not request.reverse:
                self._done(ErrorReply.of(ErrorCode.UNRECOVERABLE_POSITION))
                return
            self._texts.clear()  # older than what is still kept
            self._size = 0
        last = 0
        for each in page:
            last = 0 if each.position is None else each.position.offset
            if last > self._until:
                break
            try:
                text = self._topics.text_of(each)
            except NotText:
                self._owner.on_unsendable()
                return
            self._size += len(text)
            if self._size > self._max_size:
                detail = "the messages are too large together: use a smaller limit"
                self._done(ErrorReply.of(ErrorCode.LIMIT_EXCEEDED, detail))
                return
            self._texts.append(text)
        if len(page) < count or last >= self._until or len(self._texts) >= self._limit:
            self._finish()
        else:
            call_later(self._scheduler, 0, partial(self._read, last))

    def _finish(self) -> None:
        texts = self._texts[::-1] if self._request.reverse else self._texts
        result = HistoryResult(epoch=self._top.epoch, offset=self._top.offset)
        self._done(reply_with_publications(self._id, result, texts))
