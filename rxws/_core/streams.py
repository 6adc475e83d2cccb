"""Light Observables for frames: hot, without a lock each, and no subscriber starves another.

All streams of a connection share one `Dispatcher`, which makes their notifications follow one
another.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable
from reactivex.abc import DisposableBase, ObserverBase, OnCompleted, OnError, OnNext, SchedulerBase
from reactivex.disposable import Disposable
from reactivex.internal import default_error, noop

from .cell_context import keep_all

__all__ = ["Dispatcher", "Fault", "ReplayStream", "RestartableStream", "Stream"]

T = TypeVar("T")

Fault = Callable[[Exception], None]
"""Told of an exception that is not the end of a connection."""

# Guards the lists of observers. Subscribing is rare and takes no time, so one lock serves all.
_SUBSCRIBING = threading.Lock()


class Dispatcher:
    """Runs notifications one at a time, in the order they were posted.

    A notification that is posted while another runs waits for it, so that a send inside an
    `on_next` keeps order and does not recurse.
    """

    __slots__ = ("busy", "waiting")

    def __init__(self) -> None:
        self.busy = False
        self.waiting: deque[tuple[Callable[..., None], tuple[Any, ...]]] | None = None

    def post(self, notify: Callable[..., None], *args: Any) -> None:
        """Run `notify(*args)` now, or after those that are under way."""
        if self.busy or self.waiting:  # left over where something like ctrl-C broke in
            if self.waiting is None:  # most connections never need it
                self.waiting = deque()
            self.waiting.append((notify, args))
            if self.busy:
                return
            notify, args = self.waiting.popleft()
        self.busy = True
        try:
            notify(*args)
            if self.waiting:
                self.run_waiting()
        finally:
            self.busy = False

    def run_waiting(self) -> None:
        """Run what was posted meanwhile; for the one who is busy."""
        while self.waiting:
            notify, args = self.waiting.popleft()
            notify(*args)


class _Lock:
    """The lock that RxPY's operators ask of their source, made when the first one does.

    No `__getattr__`, by which all other attributes would be found more slowly.
    """

    def __get__(self, stream: Stream[Any] | None, _: type) -> Any:
        if stream is None:
            return self
        with _SUBSCRIBING:
            return vars(stream).setdefault("lock", threading.RLock())


class Stream(Observable[T]):
    """A hot Observable: a value reaches all who are subscribed then, the end all who ever come.

    Args:
        dispatcher: The dispatcher of the connection.
        fault: Told of every exception that a subscriber raises.
    """

    # RxPY's Observable has a __dict__, which is not made as long as nothing goes into it.
    __slots__ = ("_dispatcher", "_ended", "_error", "_fault", "_observers", "_told", "_watchers")

    _latest: tuple[T, ...] = ()  # what newcomers are told

    def __init__(self, dispatcher: Dispatcher, fault: Fault) -> None:
        # Not super().__init__(): it makes a lock for each Observable, and a connection has many.
        self._dispatcher = dispatcher
        self._fault = fault
        self._observers: tuple[ObserverBase[T], ...] = ()
        self._watchers: tuple[ObserverBase[T], ...] = ()
        self._told: tuple[ObserverBase[T], ...] = ()  # both, the watchers first
        self._ended = False
        self._error: Exception | None = None

    lock: Any = _Lock()

    def __repr__(self) -> str:
        ended = " ended" if self._ended else ""
        return f"<{type(self).__name__}{ended} subscribers={len(self._observers)}>"

    @property
    def observed(self) -> bool:
        """Whether anybody is subscribed."""
        return bool(self._observers)

    @property
    def subscriptions(self) -> int:
        """How many are subscribed; who only watches does not count."""
        return len(self._observers)

    def watch(self, observer: ObserverBase[T]) -> DisposableBase:
        """Tell an observer all that subscribers are told, and before them, without counting it.

        For what draws or records a stream: no message comes because of it, and none is dropped.
        """
        with _SUBSCRIBING:
            if not self._ended:
                self._watchers = (*self._watchers, observer)
                self._told = (*self._watchers, *self._observers)
                return _Subscription(self, observer)
        self._tell_end(observer)
        return Disposable()

    def emit(self, value: T) -> None:
        """Notify all subscribers of a value, after what is under way."""
        self._dispatcher.post(self.tell, value)

    def end(self, error: Exception | None = None) -> None:
        """Complete, or fail with an error, after what is under way."""
        if self._told or self._dispatcher.busy or self._dispatcher.waiting:
            self._dispatcher.post(self._finish, error)
        else:
            self._finish(error)

    def tell(self, value: T) -> None:
        """Notify all subscribers of a value at once; for what is posted itself."""
        for observer in self._told:
            try:
                observer.on_next(value)
            except Exception as exc:
                self._fault(exc)

    def _finish(self, error: Exception | None) -> None:
        if self._ended:
            return
        # Before they are let go of: who comes in between is among them, or is told as a latecomer.
        self._error, self._ended = error, True
        for observer in self.detach_all():
            self._tell_end(observer)

    def _tell_end(self, observer: ObserverBase[T]) -> None:
        try:
            if self._error is None:
                observer.on_completed()
            else:
                observer.on_error(self._error)
        except Exception as exc:
            # RxPY raises the stream's own error where a subscriber gave no on_error: no fault.
            if exc is not self._error:
                self._fault(exc)

    def subscribe(
        self,
        on_next: ObserverBase[T] | OnNext[T] | None = None,
        on_error: OnError | None = None,
        on_completed: OnCompleted | None = None,
        *,
        scheduler: SchedulerBase | None = None,
    ) -> DisposableBase:
        """See RxPY's, which makes ten objects where this makes one.

        Its trampoline is for sources that call back while they are being subscribed. So is this one
        where newcomers are told something, and goes that way then. In a notebook, callbacks print
        under the cell that subscribed.
        """
        if "ipykernel" in sys.modules:
            on_next, on_error, on_completed = keep_all(on_next, on_error, on_completed)
        if self._ended or self._latest:
            return super().subscribe(on_next, on_error, on_completed, scheduler=scheduler)
        observer: Any = on_next
        if callable(getattr(observer, "on_next", None)):
            subscriber = _Subscriber(
                self, observer.on_next, observer.on_error, observer.on_completed
            )
        else:
            subscriber = _Subscriber(self, observer, on_error, on_completed)
        self._subscribe_core(subscriber, scheduler)
        return subscriber

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        with _SUBSCRIBING:
            ended = self._ended
            if not ended:
                self._observers = (*self._observers, observer)
                self._told = (*self._watchers, *self._observers)
        self._on_subscribe(observer)
        if ended:
            self._tell_end(observer)
            return Disposable()
        return _Subscription(self, observer)

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        """For subclasses that tell a newcomer something, or note that one came."""

    def detach_all(self) -> tuple[ObserverBase[T], ...]:
        """Let go of all, also who only watches, and return them: they are told nothing."""
        with _SUBSCRIBING:
            told, self._told = self._told, ()
            self._observers = self._watchers = ()
        return told

    def remove(self, observer: ObserverBase[T]) -> None:
        """Notify an observer no more."""
        with _SUBSCRIBING:
            self._observers = tuple(each for each in self._observers if each is not observer)
            self._watchers = tuple(each for each in self._watchers if each is not observer)
            self._told = (*self._watchers, *self._observers)


class _Subscription(DisposableBase):
    """One observer's place at a stream; without the lock and the closure that RxPY's would have."""

    __slots__ = ("_observer", "_stream")

    def __init__(self, stream: Stream[Any], observer: ObserverBase[Any]) -> None:
        self._stream = stream
        self._observer = observer

    def dispose(self) -> None:
        """Leave; the second time nothing happens."""
        self._stream.remove(self._observer)


class _Subscriber(ObserverBase[T], DisposableBase):
    """One who is notified until the end, or until disposed: observer and subscription in one."""

    __slots__ = ("_on_completed", "_on_error", "_on_next", "_stopped", "_stream")

    def __init__(
        self,
        stream: Stream[T],
        on_next: OnNext[T] | None,
        on_error: OnError | None,
        on_completed: OnCompleted | None,
    ) -> None:
        self._stream = stream
        self._on_next: OnNext[T] = on_next or noop
        self._on_error: OnError = on_error or default_error
        self._on_completed: OnCompleted = on_completed or noop
        self._stopped = False

    def on_next(self, value: T) -> None:
        """Pass a value on."""
        if not self._stopped:
            self._on_next(value)

    def on_error(self, error: Exception) -> None:
        """Pass the error on; nothing follows it. The stream has let go of who is told its end."""
        if not self._stopped:
            self._stopped = True
            self._on_error(error)

    def on_completed(self) -> None:
        """Pass the end on; nothing follows it."""
        if not self._stopped:
            self._stopped = True
            self._on_completed()

    def dispose(self) -> None:
        """Leave; the second time, or after the end, nothing happens."""
        if not self._stopped:
            self._stopped = True
            self._stream.remove(self)

    def __repr__(self) -> str:
        return f"<Subscription {'over' if self._stopped else 'active'}>"


class ReplayStream(Stream[T]):
    """A stream that tells newcomers its latest value, also after its end."""

    __slots__ = ("_latest",)

    def __init__(self, dispatcher: Dispatcher, fault: Fault, *initial: T) -> None:
        super().__init__(dispatcher, fault)
        self._latest = initial

    def tell(self, value: T) -> None:
        """Notify all subscribers of a value at once, and those to come later."""
        self._latest = (value,)
        super().tell(value)

    def watch(self, observer: ObserverBase[T]) -> DisposableBase:
        """See `Stream.watch`."""
        self._on_subscribe(observer)
        return super().watch(observer)

    def _on_subscribe(self, observer: ObserverBase[T]) -> None:
        for value in self._latest:
            try:
                observer.on_next(value)
            except Exception as exc:
                self._fault(exc)


class RestartableStream(Stream[T]):
    """A hot Observable whose life is that of what its subscribers keep open.

    Args:
        dispatcher: The dispatcher that it shares with others.
        fault: Told of every exception that a subscriber raises.
        on_changed: Called when somebody came or left, be it from another thread. What it raises is
            raised by the subscribing, which is then undone.
    """

    def __init__(
        self, dispatcher: Dispatcher, fault: Fault, on_changed: Callable[[], object]
    ) -> None:
        super().__init__(dispatcher, fault)
        self._on_changed = on_changed

    def _subscribe_core(
        self, observer: ObserverBase[T], scheduler: SchedulerBase | None = None
    ) -> DisposableBase:
        subscription = super()._subscribe_core(observer, scheduler)
        try:
            self._on_changed()
        except BaseException:
            super().remove(observer)
            raise
        return subscription

    def remove(self, observer: ObserverBase[T]) -> None:
        """See `Stream.remove`."""
        super().remove(observer)
        self._on_changed()

    def finish_subscribers(self) -> Callable[[Exception | None], bool]:
        """Let go of all who are subscribed: it ends for them.

        They are let go of before any of them is told, as one may come back at once.

        Returns:
            What tells them of the end; it returns whether one of them raised the error itself, as
            RxPY does where no `on_error` was given.
        """
        told = self.detach_all()

        def tell(error: Exception | None) -> bool:
            raised = False
            for observer in told:
                try:
                    if error is None:
                        observer.on_completed()
                    else:
                        observer.on_error(error)
                except Exception as exc:
                    if exc is error:
                        raised = True
                    else:
                        self._fault(exc)
            return raised

        return tell
