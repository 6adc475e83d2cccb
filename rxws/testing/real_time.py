"""Refuse schedulers whose time is not virtual while a simulation runs."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import reactivex
from reactivex.scheduler import (
    EventLoopScheduler,
    NewThreadScheduler,
    TimeoutScheduler,
    TrampolineScheduler,
)
from reactivex.scheduler.periodicscheduler import PeriodicScheduler

from rxws._core.errors import RxwsError

__all__ = ["NotVirtualTime", "RealTimeUses", "refuse_real_time"]


class NotVirtualTime(RxwsError):
    """An operator of a handler runs on a scheduler of its own, so its time is not virtual.

    This happens if a chain begins with `rx.merge` or `rx.interval`, not with a stream of rxws. Pass
    `scheduler=conn.scheduler` to the operator or to `subscribe`. Or test the handler with
    `rxws.testing.pair` or on a server.
    """


_ROOT = f"{Path(reactivex.__file__).parent}/"
_OPERATORS = ("operators/", "observable/", "run.py")
_NAMES = {  # with operators that are made of another one
    "timer": "timer (or interval, sample)",
    "to_async": "to_async (or start)",
    "window_with_time": "window_with_time (or buffer_with_time)",
    "window_with_time_or_count": "window_with_time_or_count (or buffer_with_time_or_count)",
}
_METHODS = ("schedule", "schedule_relative", "schedule_absolute", "schedule_periodic")
_KINDS = (TimeoutScheduler, NewThreadScheduler, EventLoopScheduler)
_LOOPS = ("reactivex.scheduler.eventloop", "reactivex.scheduler.mainloop")


class RealTimeUses:
    """The uses of real time by one thread during a simulation."""

    def __init__(self) -> None:
        self.error: NotVirtualTime | None = None
        self._read: NotVirtualTime | None = None

    @property
    def first(self) -> NotVirtualTime | None:
        """The first use: of a timer or a thread, or else of a clock."""
        return self.error or self._read

    def refuse(self, scheduler: object) -> NotVirtualTime:
        """Return the error for an action that is scheduled in real time."""
        self.error = self.error or _error(scheduler, _operator())
        return self.error

    def on_read(self, scheduler: object) -> None:
        """Remember that an operator, not the user, has read the time of a scheduler."""
        operator = _operator()
        if operator and self._read is None:
            self._read = _error(scheduler, operator)


def _error(scheduler: object, operator: str) -> NotVirtualTime:
    name = type(scheduler).__name__.removesuffix("Singleton")
    what = f"{operator} runs on its own {name}" if operator else f"a handler uses {name}"
    return NotVirtualTime(
        f"{what}, whose time is not virtual: pass scheduler=conn.scheduler to the operator or to "
        "subscribe(), or test with rxws.testing.pair or on a server"
    )


def _operator() -> str:
    """Return the name of RxPY's operator that calls a scheduler, or an empty string."""
    for frame in _callers():
        file = frame.f_code.co_filename
        if not file.startswith(_ROOT):
            return ""
        file = file.removeprefix(_ROOT).replace("\\", "/")
        if file in ("observer/scheduledobserver.py", "observer/observeonobserver.py"):
            return "observe_on"
        name = frame.f_code.co_qualname.partition(".")[0]
        if file.startswith(_OPERATORS) and name.islower():
            name = name.strip("_")
            if name.startswith("observable_"):  # such as `observable_delay_timespan`
                name = Path(file).stem.strip("_")
            return _NAMES.get(name, name)
    return ""


def _callers() -> Iterator[FrameType]:
    """Yield the frames that called a scheduler, without those of this module."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_filename != __file__:
            yield frame
        frame = frame.f_back


# --- the patch ----------------------------------------------------------------------------------

_USES: dict[int, RealTimeUses] = {}  # by thread, while it runs a simulation
_LOCK = threading.Lock()
_restore: list[Callable[[], None]] = []


@contextmanager
def refuse_real_time() -> Generator[RealTimeUses]:
    """Let RxPY's schedulers in real time raise `NotVirtualTime` on this thread.

    Their methods are replaced until no thread needs it. Other threads do not notice.
    """
    thread = threading.get_ident()
    outer = _USES.get(thread)
    uses = RealTimeUses()
    with _LOCK:
        if not _USES:
            _replace_methods()
        _USES[thread] = uses
    try:
        yield uses
    finally:
        with _LOCK:
            if outer is not None:
                _USES[thread] = outer
            else:
                del _USES[thread]
            if not _USES:
                while _restore:
                    _restore.pop()()


def _replace_methods() -> None:
    family = set(_family(PeriodicScheduler))
    kinds = {
        each for each in family if issubclass(each, _KINDS) or each.__module__.startswith(_LOOPS)
    }
    for kind in kinds:
        for name in _METHODS:
            if name in vars(kind):
                _replace(kind, name, _refusing(vars(kind)[name]))
        if "now" in vars(kind) or kind.__mro__[1] not in kinds:
            _replace(kind, "now", _noticing(kind.now))
    original = vars(TrampolineScheduler)["schedule_absolute"]
    _replace(TrampolineScheduler, "schedule_absolute", _refusing(original, _blocks))


def _family(kind: type[Any]) -> Iterator[type[Any]]:
    yield kind
    for each in kind.__subclasses__():
        yield from _family(each)


def _replace(kind: type[Any], name: str, new: Any) -> None:
    if name in vars(kind):
        _restore.append(partial(setattr, kind, name, vars(kind)[name]))
    else:
        _restore.append(partial(delattr, kind, name))
    setattr(kind, name, new)


def _blocks(scheduler: Any, duetime: Any) -> bool:
    """Whether a trampoline would block the thread until a time."""
    return bool(scheduler.to_datetime(duetime) > scheduler.now)


def _refusing(original: Any, when: Callable[..., bool] | None = None) -> Any:
    def schedule(self: Any, *args: Any, **kwargs: Any) -> Any:
        uses = _USES.get(threading.get_ident())
        if uses is None or (when is not None and not when(self, args[0])):
            return original(self, *args, **kwargs)
        raise uses.refuse(self)

    return schedule


def _noticing(original: Any) -> Any:
    def now(self: Any) -> Any:
        uses = _USES.get(threading.get_ident())
        if uses is not None:
            uses.on_read(self)
        return original.fget(self)

    return property(now)
