"""The stream of what comes in: decoded, and held back while nobody is subscribed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.connection import Close
from rxws._core.log import logger
from rxws._core.schedulers import call_later
from rxws._core.streams import Dispatcher, Fault, Stream
from rxws._core.upstream import register_upstream

from .encoding import decode_error, decoder
from .flow import FlowControl
from .options import Options

__all__ = ["IncomingStream"]

T = TypeVar("T")

_KEPT = object()  # the hold of a message that waits


class IncomingStream(Stream[T]):
    """The `incoming` of a connection.

    A message that finds no subscriber, or a flow on hold, is kept and reading paused; there is no
    queue but the one message (or, on a wire that cannot stop at once, the few) that were already on
    their way.

    Args:
        dispatcher: The dispatcher of the connection.
        fault: Told of what a subscriber raises and of what cannot be decoded.
        options: The codec, and how long a message is kept for a subscriber to come.
        flow: The flow control.
        scheduler: The connection's time.
    """

    __slots__ = (
        "_decode",
        "_discarding",
        "_flushing",
        "_hold_timeout",
        "_kept",
        "_scheduler",
        "_timer",
        "close",
        "ever_observed",
        "flow",
    )

    def __init__(
        self,
        dispatcher: Dispatcher,
        fault: Fault,
        options: Options,
        flow: FlowControl,
        scheduler: SchedulerBase,
    ) -> None:
        super().__init__(dispatcher, fault)
        self._decode: Callable[[str | bytes], Any] | None = decoder(options.codec)
        self.flow = flow
        self._scheduler = scheduler
        self._hold_timeout = options.hold_timeout
        self._kept: deque[str | bytes] | None = None
        self.ever_observed = False
        self._discarding = False
        self.close: Close | None = None  # how the connection ended
        self._timer: DisposableBase | None = None
        self._flushing: DisposableBase | None = None

    def receive(self, data: str | bytes, size: int) -> None:
        """Deliver a message of so many bytes, or keep it until it can be.

        All that a message needs on its way is in here, where it could be said in five calls: they
        would cost more than the rest.
        """
        flow, dispatcher, observers = self.flow, self._dispatcher, self._observers
        flow.received_messages += 1
        flow.received_bytes += size
        if not flow.keep_alive.watching:
            flow.watch()
        if dispatcher.busy or dispatcher.waiting or not observers or self._kept or flow.gate.holds:
            self._receive_later(data)
            return
        dispatcher.busy = True
        try:
            try:
                value: Any = data if self._decode is None else self._decode(data)
            except Exception as exc:
                self._fault(decode_error(exc, data))
            else:
                for observer in self._all_observers:
                    try:
                        observer.on_next(value)
                    except Exception as exc:
                        self._fault(exc)
            if dispatcher.waiting:
                dispatcher.run_waiting()
        finally:
            dispatcher.busy = False

    def _receive_later(self, data: str | bytes) -> None:
        if self.close is not None:
            self.flow.dropped("closed")
        else:
            self._dispatcher.post(self._arrive, data)

    def flush(self) -> None:
        """Deliver what is kept, in the next turn, as far as somebody is there and the flow free.

        Not now: all who subscribe in one turn of the loop shall see the first message, and who lets
        go of a hold shall not be called back meanwhile.
        """
        if self._kept and self._flushing is None:
            self._flushing = call_later(self._scheduler, 0, self._flush_now)

    def discard_unobserved(self) -> None:
        """Drop what comes in while nobody subscribes, if nobody ever did: a server push."""
        if not self.ever_observed:
            self.discard_from_now()

    def discard_from_now(self) -> None:
        """Keep nothing any more: closing has begun, and what follows the kept shall be seen."""
        self._discarding = True
        self.flush()

    def finish(self, close: Close, error: Exception | None) -> None:
        """End, after what is kept was delivered or dropped."""
        self.close = close
        self._discarding = True
        self._dispatcher.post(self._flush)
        self.end(error)

    def _arrive(self, data: str | bytes) -> None:
        if self._observers and not self._kept and not self.flow.gate.holds:
            self._deliver(data)
        elif self._discarding and not self._observers:
            self.flow.dropped("unobserved")
        else:
            if self._kept is None:  # most connections never need it
                self._kept = deque()
            self._kept.append(data)
            self.flow.gate.hold(_KEPT)
            self._watch()

    def _flush_now(self) -> None:
        self._flushing = None
        self._dispatcher.post(self._flush)

    def _flush(self) -> None:
        while self._kept and self._observers and not self.flow.gate.held_besides(_KEPT):
            self._deliver(self._kept.popleft())
        if self._kept and self._discarding and not self._observers:
            self.flow.dropped("unobserved", len(self._kept))
            self._kept.clear()
        if self._kept:
            self._watch()
        else:
            self._stop_timer()
            self.flow.gate.release(_KEPT)

    def _deliver(self, data: str | bytes) -> None:
        try:
            value: Any = data if self._decode is None else self._decode(data)
        except Exception as exc:
            self._fault(decode_error(exc, data))
        else:
            self.deliver(value)

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        register_upstream(self.flow)
        self.ever_observed = True
        self._discarding = self.flow.gate.open_for_good
        self._stop_timer()  # what waits now waits for whoever holds the flow
        if self._flushing is not None:  # due in this turn: let it wait for those to come in it
            self._flushing.dispose()
            self._flushing = None
        self.flush()

    def remove(self, observer: ObserverBase[T]) -> None:
        """See `Stream.remove`; what waits waits for a subscriber again."""
        super().remove(observer)
        if self._kept:
            self._watch()

    def _give_up(self) -> None:
        self._timer = None
        logger.warning(
            "nobody subscribed incoming for %s s while messages waited: they are dropped and "
            "counted from now on; call conn.incoming.subscribe() to ignore them",
            self._hold_timeout,
        )
        self.discard_from_now()

    def _watch(self) -> None:
        if not self._observers and self._timer is None:
            self._timer = call_later(self._scheduler, self._hold_timeout, self._give_up)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.dispose()
            self._timer = None
