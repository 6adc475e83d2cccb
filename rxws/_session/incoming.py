"""The stream of received messages: decoded, and kept while they cannot be delivered."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from reactivex.abc import ObserverBase, SchedulerBase

from rxws._core.connection import Close
from rxws._core.hints import CONNECTION, with_hints
from rxws._core.log import logger
from rxws._core.schedulers.timers import call_later, seconds_of
from rxws._core.streams.stream import Dispatcher, Fault, PausableStream
from rxws.codecs import Codec

from .encoding import DecodedFrames, decode_error, decoder, size
from .flow import FlowControl
from .options import Options
from .read_ahead import ReadAhead
from .read_gate import UNDELIVERED

__all__ = ["IncomingStream"]

T = TypeVar("T")

# After the delivery of kept messages has taken this long, in seconds, the loop gets a turn.
_YIELD_AFTER = 0.01


class _Unobserved(enum.Enum):
    """What happens to messages while nobody subscribes."""

    KEPT = enum.auto()
    """They wait for a subscriber."""
    DROPPED = enum.auto()
    """They are dropped until somebody subscribes."""
    ALWAYS_DROPPED = enum.auto()
    """They are dropped, also after a subscriber has left again."""


_KEPT = _Unobserved.KEPT  # a global name is faster to look up than a member of an enum


@with_hints(CONNECTION)
class IncomingStream(PausableStream[T]):
    """The `incoming` of a connection.

    Without a subscriber, or while delivery is held, messages are kept in a `ReadAhead`. Reading
    goes on, so that pings are answered and the peer's close is seen, until the `ReadAhead` is full.
    """

    __slots__ = (
        "_ahead",
        "_decode",
        "_hold_timeout",
        "_limit",
        "_scheduler",
        "_unobserved",
        "close",
        "flow",
    )

    end_awaited = 0  # how many coroutines await `closed`; in __dict__, as few do

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
        self._limit = options.high_water
        self._ahead: ReadAhead | None = None  # None while nothing waits
        self._unobserved = _KEPT if options.incoming == "hold" else _Unobserved.ALWAYS_DROPPED
        self.close: Close | None = None  # how the connection ended

    def receive(self, data: str | bytes, size: int) -> None:
        """Deliver a message of `size` bytes, or keep it until it can be delivered.

        Five methods are inlined here: their calls would take longer than the rest.
        """
        flow, dispatcher, observers = self.flow, self._dispatcher, self._observers
        flow.received_messages += 1
        flow.received_bytes += size
        if not flow.keep_alive.running:
            flow.start_keep_alive()
        if dispatcher.busy or not observers or self._ahead or flow.gate.holds:
            self._receive_later(data, size)
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
                interrupt: BaseException | None = None
                for observer in self._all_observers:
                    try:
                        observer.on_next(value)
                    except Exception as exc:
                        self._fault(exc)
                    except BaseException as exc:
                        interrupt = interrupt or exc
                if tracker is not None:
                    tracker.end_delivery(self, data)
                if interrupt is not None:
                    raise interrupt
            if dispatcher.waiting:
                dispatcher.run_waiting()
        except BaseException as exc:
            dispatcher.run_interrupted(exc)
            raise
        finally:
            dispatcher.busy = False

    def _receive_later(self, data: str | bytes, size: int) -> None:
        if self.close is not None:
            self.flow.count_dropped("closed")
        else:
            self._dispatcher.post(self._deliver_or_keep, data, size)

    @property
    def waiting(self) -> int:
        """How many messages wait for a subscriber, or for the end of a hold."""
        return 0 if self._ahead is None else self._ahead.count

    def uses(self, codec: Codec[Any, Any]) -> bool:
        """Return whether messages are decoded with this codec."""
        decode = self._decode
        if isinstance(decode, DecodedFrames):
            decode = decode.decode
        return decode is decoder(codec)

    def keep_frames(self) -> DecodedFrames | None:
        """Keep the frame of the value that is emitted; return None if the value is the frame."""
        if self._decode is not None and not isinstance(self._decode, DecodedFrames):
            self._decode = DecodedFrames(self._decode)
        return self._decode

    def flush(self) -> None:
        """Deliver waiting messages in the next turn of the loop, if possible.

        So all observers that subscribe in this turn get the first message, and a call that releases
        a hold does not run subscribers.
        """
        ahead = self._ahead
        if ahead is not None and ahead.flush_timer is None:
            ahead.flush_timer = self.flow.call_soon(partial(self._on_flush_timer, ahead))

    def discard_always(self) -> None:
        """Drop messages whenever there is no subscriber, and never keep them."""
        self._unobserved = _Unobserved.ALWAYS_DROPPED
        self.flush()

    def discard_until_subscribed(self) -> None:
        """Drop the kept messages, and further ones until somebody subscribes."""
        if self._unobserved is _KEPT:
            self._unobserved = _Unobserved.DROPPED
        if self.close is None:
            self.flush()
        else:  # the caller may free the connection now
            self._dispatcher.post(self._flush)

    # --- the end ----------------------------------------------------------------------------

    def defer(self, end: Callable[[], None]) -> bool:
        """Call `end`, which ends the connection, later; return False if nothing is in its way.

        A subscriber that holds delivery gets the waiting messages before the end. If nobody
        subscribes, the end comes in the next turn of the loop: code that runs in this turn may
        subscribe, or send an answer. After that, the messages still wait for a subscriber.
        """
        gate = self.flow.gate
        if gate.permanently_open or self._drops:
            return False
        if self._ahead is None and not (gate.holds if self._observers else gate.held_by_user):
            return False
        ahead = self._read_ahead()
        if ahead.end is None:  # the first end counts
            ahead.end = end
            gate.pause()
            self.flush()
        return True

    @property
    def end_deferred(self) -> bool:
        """Whether the end of the connection waits behind messages."""
        return self._ahead is not None and self._ahead.end is not None

    def run_deferred_end(self) -> bool:
        """End the connection now if its end was deferred; return whether it was."""
        ahead = self._ahead
        if ahead is None or ahead.end is None:
            return False
        end, ahead.end = ahead.end, None
        end()
        return True

    def finish(self, close: Close, error: Exception | None) -> None:
        """End the stream, once the messages that wait are delivered or dropped."""
        self.close = close
        if self._ahead is not None:
            self._ahead.end = None
        self._dispatcher.post(self._end_after_messages, error)

    def when_ended(self, callback: Callable[[], None]) -> bool:
        """Call back when the stream ends after `finish`; return False if it has ended already."""
        if self._ahead is None:
            return False
        self._ahead.on_delivered = callback
        return True

    def _end_after_messages(self, error: Exception | None) -> None:
        ahead = self._ahead
        if ahead is None:
            self._finish(error)
        else:
            ahead.terminal = (error,)
            self._flush()

    # --- keeping messages -------------------------------------------------------------------

    @property
    def _drops(self) -> bool:
        """Whether messages that cannot be delivered now are dropped."""
        return not self._observers and self._unobserved is not _KEPT

    def _read_ahead(self) -> ReadAhead:
        if self._ahead is None:
            self._ahead = ReadAhead(self._limit)
        return self._ahead

    def _deliver_or_keep(self, data: str | bytes, size: int) -> None:
        gate = self.flow.gate
        if self._observers and self._ahead is None and not gate.holds:
            self._deliver(data)
        elif self._drops:
            self.flow.count_dropped("unobserved")
        else:
            ahead = self._read_ahead()
            ahead.put(data, size)
            gate.hold(UNDELIVERED)
            if ahead.full:
                gate.pause()
            self._start_hold_timer(ahead)
            if self.end_awaited:
                self.warn_if_unobserved()

    def _on_flush_timer(self, ahead: ReadAhead) -> None:
        ahead.flush_timer = None
        self._dispatcher.post(self._flush)

    def _flush(self) -> None:
        """Deliver or drop the messages for which that is possible, then end if that is due."""
        ahead = self._ahead
        if ahead is None:
            return
        gate = self.flow.gate
        before = ahead.count
        try:
            self._deliver_kept(ahead)
        except BaseException:  # such as a KeyboardInterrupt in a subscriber, which ends all
            if ahead.count:
                self.flow.count_dropped("closed", ahead.clear())
            self.flush()
            raise
        delivered = before - ahead.count
        if ahead.count and self._drops:
            self.flow.count_dropped("unobserved", ahead.clear())
        self._start_hold_timer(ahead)
        if not ahead.count:
            ahead.stop_hold_timer()
            if ahead.terminal is not None:
                if delivered and not self._observers:
                    self.flush()  # a cancelled coroutine may put back its message in this turn
                else:
                    self._end_stream(ahead, *ahead.terminal)
                return
            if ahead.end is None:
                self._ahead = None
                ahead.stop_timers()
            gate.release(UNDELIVERED)
        if ahead.end is not None:
            if delivered:
                self.flush()  # a coroutine that got a message may answer in this turn
            elif self._is_end_due(ahead):
                self.run_deferred_end()
        elif ahead.half_empty:
            gate.resume()

    def _deliver_kept(self, ahead: ReadAhead) -> None:
        gate = self.flow.gate
        seconds = seconds_of(self._scheduler)
        until = seconds() + _YIELD_AFTER
        while ahead.count and self._observers and not gate.held_besides(UNDELIVERED):
            self._deliver(ahead.pop())
            # At a shutdown, the loop may have no further turn.
            if (self.close is None or self._unobserved is _KEPT) and seconds() > until:
                self.flush()
                return

    def _is_end_due(self, ahead: ReadAhead) -> bool:
        gate = self.flow.gate
        if self._observers:
            return not ahead.count and not gate.held_besides(UNDELIVERED)
        return self._drops or not gate.held_by_user

    def _end_stream(self, ahead: ReadAhead, error: Exception | None) -> None:
        self._ahead = None
        ahead.stop_timers()
        self._finish(error)
        if ahead.on_delivered is not None:
            ahead.on_delivered()

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
        ahead = self._read_ahead()
        ahead.put_first(data, size(data))
        self.flow.gate.hold(UNDELIVERED)
        self._start_hold_timer(ahead)
        self.flush()

    @property
    def _pausable(self) -> FlowControl:
        return self.flow

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        super()._on_subscribe(observer)
        if self._unobserved is _Unobserved.DROPPED:
            self._unobserved = _KEPT
        if self._ahead is not None:
            self.flow.run_on_session_thread(self._on_subscribed)

    def _on_subscribed(self) -> None:
        ahead = self._ahead
        if ahead is not None:
            ahead.stop_timers()  # also if delivery is due in this turn: others may subscribe in it
            self.flush()

    def remove(self, observer: ObserverBase[T]) -> None:
        """See `Stream.remove`; kept messages wait for a subscriber again."""
        super().remove(observer)
        if self._ahead is not None:
            self.flow.run_on_session_thread(self._on_removed)

    def _on_removed(self) -> None:
        ahead = self._ahead
        if ahead is not None:
            self._start_hold_timer(ahead)
            if ahead.end is not None:
                self.flush()

    # --- waiting for a subscriber -----------------------------------------------------------

    def warn_if_unobserved(self) -> None:
        """Log a warning if messages still wait for a subscriber in the next turn of the loop."""
        ahead = self._ahead
        if ahead is not None and ahead.count and not self._observers and not ahead.warned:
            ahead.warned = True
            call_later(self._scheduler, 0, lambda: self._warn(ahead))

    def _warn(self, ahead: ReadAhead) -> None:
        if ahead.count and not self._observers:
            logger.warning(
                "conn.closed is awaited or observed, but received messages wait for a subscriber "
                "of conn.incoming: subscribe to it, or call conn.incoming.subscribe() if you "
                "don't need them"
            )
        else:  # messages may wait again later
            ahead.warned = False

    def _on_timeout(self, ahead: ReadAhead) -> None:
        ahead.hold_timer = None
        logger.warning(
            "conn.incoming has had no subscriber for %s s: its messages are dropped and counted "
            "from now on; call conn.incoming.subscribe() if you don't need them",
            self._hold_timeout,
        )
        self.discard_until_subscribed()

    def _start_hold_timer(self, ahead: ReadAhead) -> None:
        if ahead.count and not self._observers and ahead.hold_timer is None:
            ahead.hold_timer = call_later(
                self._scheduler, self._hold_timeout, lambda: self._on_timeout(ahead)
            )
