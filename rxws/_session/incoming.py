"""The stream of received messages: decoded, and kept while nobody subscribes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from reactivex.abc import DisposableBase, ObserverBase, SchedulerBase

from rxws._core.awaitable import AwaitableObservable
from rxws._core.connection import Close
from rxws._core.log import logger
from rxws._core.schedulers import call_later
from rxws._core.streams import Dispatcher, Fault, PausableStream

from .encoding import DecodedFrames, decode_error, decoder
from .flow import FlowControl
from .options import Options

__all__ = ["IncomingStream"]

T = TypeVar("T")

_KEPT_MESSAGES = "kept messages"  # pauses reading while messages wait for a subscriber


class IncomingStream(AwaitableObservable[T], PausableStream[T]):
    """The `incoming` of a connection.

    Without a subscriber, or while the flow is paused, a message is kept and reading pauses. So only
    the message that was already received is kept, or a few if the wire cannot stop at once.
    """

    __slots__ = (
        "_decode",
        "_discarding",
        "_flush_timer",
        "_hold_timeout",
        "_hold_timer",
        "_kept",
        "_scheduler",
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
        self._hold_timer: DisposableBase | None = None
        self._flush_timer: DisposableBase | None = None

    def receive(self, data: str | bytes, size: int) -> None:
        """Deliver a message of `size` bytes, or keep it until it can be delivered.

        Five methods are inlined here: their calls would take longer than the rest.
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
                members = self._members
                tracker = None if members is None else members.begin_delivery(observers)
                for observer in self._all_observers:
                    try:
                        observer.on_next(value)
                    except Exception as exc:
                        self._fault(exc)
                if tracker is not None:
                    tracker.end_delivery(self, data)
            if dispatcher.waiting:
                dispatcher.run_waiting()
        finally:
            dispatcher.busy = False

    def _receive_later(self, data: str | bytes) -> None:
        if self.close is not None:
            self.flow.count_dropped("closed")
        else:
            self._dispatcher.post(self._arrive, data)

    def keep_frames(self) -> DecodedFrames | None:
        """Keep the frame of the value that is emitted; return None if the value is the frame."""
        if self._decode is not None and not isinstance(self._decode, DecodedFrames):
            self._decode = DecodedFrames(self._decode)
        return self._decode

    def flush(self) -> None:
        """Deliver the kept messages in the next turn of the loop, if there are subscribers.

        By then, all who subscribe in this turn get the first message. And the code that releases a
        pause does not call subscribers.
        """
        if self._kept and self._flush_timer is None:
            self._flush_timer = call_later(self._scheduler, 0, self._flush_now)

    def discard_unobserved(self) -> None:
        """Drop messages from now on if nobody has ever subscribed: the handler only sends."""
        if not self.ever_observed:
            self.discard_from_now()

    def discard_from_now(self) -> None:
        """Drop messages without a subscriber from now on, instead of keeping them."""
        self._discarding = True
        self.flush()

    def finish(self, close: Close, error: Exception | None) -> None:
        """End, after the kept messages are delivered or dropped."""
        self.close = close
        self._discarding = True
        self._dispatcher.post(self._flush)
        self.end(error)

    def _arrive(self, data: str | bytes) -> None:
        if self._observers and not self._kept and not self.flow.gate.holds:
            self._deliver(data)
        elif self._discarding and not self._observers:
            self.flow.count_dropped("unobserved")
        else:
            if self._kept is None:  # most connections never need it
                self._kept = deque()
            self._kept.append(data)
            self.flow.gate.hold(_KEPT_MESSAGES)
            self._start_hold_timer()

    def _flush_now(self) -> None:
        self._flush_timer = None
        self._dispatcher.post(self._flush)

    def _flush(self) -> None:
        while self._kept and self._observers and not self.flow.gate.held_besides(_KEPT_MESSAGES):
            self._deliver(self._kept.popleft())
        if self._kept and self._discarding and not self._observers:
            self.flow.count_dropped("unobserved", len(self._kept))
            self._kept.clear()
        if self._kept:
            self._start_hold_timer()
        else:
            self._stop_hold_timer()
            self.flow.gate.release(_KEPT_MESSAGES)

    def _deliver(self, data: str | bytes) -> None:
        try:
            value: Any = data if self._decode is None else self._decode(data)
        except Exception as exc:
            self._fault(decode_error(exc, data))
        else:
            members = self._members
            tracker = None if members is None else members.begin_delivery(self._observers)
            self.deliver(value)
            if tracker is not None:
                tracker.end_delivery(self, data)

    def put_back(self, data: str | bytes) -> None:
        """Keep a message again that its only subscriber did not use, ahead of all others."""
        if self._ended:
            self.flow.count_dropped("unobserved")
            return
        if self._kept is None:
            self._kept = deque()
        self._kept.appendleft(data)
        self.flow.gate.hold(_KEPT_MESSAGES)
        self._start_hold_timer()
        self.flush()

    @property
    def _pausable(self) -> FlowControl:
        return self.flow

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        super()._on_subscribe(observer)
        self.ever_observed = True
        self._discarding = self.flow.gate.open_for_good
        self._stop_hold_timer()
        if self._flush_timer is not None:  # due in this turn: postpone it for further subscribers
            self._flush_timer.dispose()
            self._flush_timer = None
        self.flush()

    def remove(self, observer: ObserverBase[T]) -> None:
        """See `Stream.remove`; kept messages wait for a subscriber again."""
        super().remove(observer)
        if self._kept:
            self._start_hold_timer()

    def _on_timeout(self) -> None:
        self._hold_timer = None
        logger.warning(
            "conn.incoming has had no subscriber for %s s: its messages are dropped and counted "
            "from now on; call conn.incoming.subscribe() if you don't need them",
            self._hold_timeout,
        )
        self.discard_from_now()

    def _start_hold_timer(self) -> None:
        if not self._observers and self._hold_timer is None:
            self._hold_timer = call_later(self._scheduler, self._hold_timeout, self._on_timeout)

    def _stop_hold_timer(self) -> None:
        if self._hold_timer is not None:
            self._hold_timer.dispose()
            self._hold_timer = None
