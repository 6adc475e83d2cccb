"""The steps that a pipeline may have.

Each step is a function. The page shows the source of what it returns, with the visitor's values in
place of the parameters: it is the code that runs.
"""

# pyright: reportUnknownLambdaType=false, reportUnknownArgumentType=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# The page shows the lambdas, whose parameters cannot be annotated.

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import reactivex as rx
from reactivex import operators

import rxws

from ._functions import look_up, model
from ._parameters import Number, Parameter, Text

__all__ = ["STEPS", "Step"]

ops: Any = operators
_SECONDS = Number("time", 0.3, 0.05, 5, "s")


@dataclass(frozen=True, slots=True)
class Step:
    """A step, and what the page says about it."""

    name: str
    title: str
    about: str
    make: Callable[..., Any]
    parameters: dict[str, Parameter]


STEPS: dict[str, Step] = {}


def _step(
    title: str, about: str, **parameters: Parameter
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def add(make: Callable[..., Any]) -> Callable[..., Any]:
        STEPS[make.__name__] = Step(make.__name__, title, about, make, parameters)
        return make

    return add


@_step("map: upper case", "Changes each message.")
def upper() -> Any:
    return ops.map(str.upper)


@_step("map: reverse", "Changes each message.")
def reverse() -> Any:
    return ops.map(lambda text: text[::-1])


@_step(
    "map: double a number",
    "Text that is not a number raises an exception: the connection closes with 1011.",
)
def double() -> Any:
    return ops.map(lambda text: str(2 * int(text)))


@_step(
    "map: make large",
    "Fills messages with spaces, so that buffers fill sooner.",
    size=Number("size", 4096, 128, 16384, "B"),
)
def pad(size: int) -> Any:
    return ops.map(lambda text: text.ljust(size))


@_step("filter", "Keeps only the messages that contain a text.", part=Text("contains", "a"))
def keep(part: str) -> Any:
    return ops.filter(lambda text: part in text)


@_step("distinct_until_changed", "Drops a message that is equal to the one before.")
def changed() -> Any:
    return ops.distinct_until_changed()


@_step("scan: count", "Emits how many messages have come so far.")
def count() -> Any:
    return ops.scan(lambda total, text: total + 1, 0), ops.map(str)


@_step("scan: collect", "Adds each message to the end of the last result.")
def collect() -> Any:
    return ops.scan(lambda joined, text: (joined + text)[-40:], "")


@_step(
    "debounce",
    "Waits until no message has come for a time, then emits the last one.",
    seconds=_SECONDS,
)
def debounce(seconds: float) -> Any:
    return ops.debounce(seconds)


@_step(
    "throttle_first",
    "Emits a message, then drops those of the next moments.",
    seconds=Number("time", 1.0, 0.05, 5, "s"),
)
def throttle(seconds: float) -> Any:
    return ops.throttle_first(seconds)


@_step(
    "sample", "Emits the last message at regular times.", seconds=Number("every", 1.0, 0.05, 5, "s")
)
def sample(seconds: float) -> Any:
    return ops.sample(seconds)


@_step("delay", "Emits each message later.", seconds=Number("time", 0.5, 0.05, 5, "s"))
def delay(seconds: float) -> Any:
    return ops.delay(seconds)


@_step(
    "buffer",
    "Emits messages together: after a time, or when there are enough.",
    seconds=Number("time", 1.0, 0.05, 5, "s"),
    count=Number("at most", 4, 1, 50, "messages"),
)
def buffer(seconds: float, count: int) -> Any:
    return ops.buffer_with_time_or_count(seconds, count), ops.filter(bool), ops.map(" ".join)


@_step(
    "rate_limit",
    "Accepts a number of messages per second, and counts those that it drops.",
    messages=Number("messages", 2, 1, 50, "per s"),
    burst=Number("burst", 3, 1, 50, "messages"),
)
def rate_limit(messages: int, burst: int) -> Any:
    return rxws.operators.rate_limit(messages, 1, burst, excess="drop")


@_step(
    "map_async",
    "Calls a coroutine per message. While calls run, the sender is slowed down.",
    seconds=Number("takes", 0.5, 0.05, 5, "s"),
    calls=Number("at once", 2, 1, 16, "calls"),
)
def map_async(seconds: float, calls: int) -> Any:
    return rxws.operators.map_async(lambda text: look_up(text, seconds), max_concurrent=calls)  # pyright: ignore[reportArgumentType]


@_step(
    "switch_latest: tokens",
    "Streams an answer per message. A new message cancels the answer "
    "before it, and “stop” starts none.",
)
def tokens() -> Any:
    return (
        ops.map(lambda prompt: rxws.from_async_iterable(lambda: model(prompt))),
        ops.switch_latest(),
    )


@_step(
    "merge with interval", "Adds messages of a timer.", seconds=Number("every", 1.0, 0.05, 5, "s")
)
def ticks(seconds: float) -> Any:
    return ops.merge(rx.interval(seconds).pipe(ops.map(lambda number: f"tick {number}")))
