"""The pipelines that the page suggests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

__all__ = ["PRESETS", "Preset"]

_LARGE = {"name": "pad", "size": 4096}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """A pipeline, and messages that show what it does."""

    title: str
    about: str
    steps: tuple[dict[str, Any], ...]
    script: tuple[str, ...] = ()  # what the page sends once
    pause: float = 0.8  # seconds between these
    options: dict[str, Any] = field(default_factory=dict[str, Any])
    suggestions: tuple[str, ...] = ()
    speed: str = "full"
    rate: float = 0  # messages per second that the page sends


PRESETS = (
    Preset(
        title="debounce",
        about="Somebody types a search. Only what stays for 0.3 s is passed on.",
        steps=({"name": "debounce", "seconds": 0.3}, {"name": "upper"}),
        script=("r", "re", "rea", "reac", "react"),
        pause=0.15,
        suggestions=("reactive", "websocket"),
    ),
    Preset(
        title="map",
        about="Each message is changed and sent back.",
        steps=({"name": "upper"}, {"name": "reverse"}),
        script=("hello", "stream"),
        suggestions=("hello", "naïve √π"),
    ),
    Preset(
        title="filter",
        about="Only messages with an “a” are passed on.",
        steps=({"name": "keep", "part": "a"},),
        script=("apple", "plum", "banana", "fig"),
        suggestions=("apple", "plum", "banana"),
    ),
    Preset(
        title="throttle",
        about="One message passes, those of the next second are dropped.",
        steps=({"name": "throttle", "seconds": 1.0},),
        script=("1", "2", "3", "4", "5", "6"),
        pause=0.4,
        suggestions=("click #",),
    ),
    Preset(
        title="buffer",
        about="Messages are collected for a second, at most four, and sent as one.",
        steps=({"name": "buffer", "seconds": 1.0, "count": 4},),
        script=("a", "b", "c", "d", "e", "f"),
        pause=0.2,
        suggestions=("item #",),
    ),
    Preset(
        title="scan",
        about="Keeps a state: how many messages have come so far.",
        steps=({"name": "count"},),
        script=("a", "b", "c"),
        suggestions=("one more",),
    ),
    Preset(
        title="map_async",
        about="Each message takes a slow call. Two run at once, and the results stay in order.",
        steps=({"name": "map_async", "seconds": 0.7, "calls": 2},),
        script=("a", "b", "c", "d", "e"),
        pause=0.25,
        suggestions=("look up #",),
    ),
    Preset(
        title="tokens",
        about="A stream of tokens answers each prompt. A new prompt cancels the answer before it.",
        steps=({"name": "tokens"},),
        script=("rain",),
        suggestions=("rain", "snow", "stop"),
    ),
    Preset(
        title="merge",
        about="Your messages, and those of a timer.",
        steps=({"name": "upper"}, {"name": "ticks", "seconds": 1.0}),
        script=("hello",),
        suggestions=("hello",),
    ),
    Preset(
        title="slow peer",
        about="The client reads 2 messages per second, but gets 10. The send buffer fills; then "
        "the oldest messages are dropped and counted.",
        steps=(_LARGE,),
        options={"max_buffer": 32, "overflow": "drop_oldest"},
        suggestions=("#",),
        speed="slow",
        rate=10,
    ),
    Preset(
        title="conflation",
        about="The client is slow, but its messages stay recent: a new one replaces the one that "
        "waits.",
        steps=({"name": "pad", "size": 16384},),
        options={"max_buffer": 64, "overflow": "latest"},
        suggestions=("#",),
        speed="slow",
        rate=10,
    ),
    Preset(
        title="failure",
        about="Text that is not a number raises an exception. The connection closes with 1011, and "
        "the client reconnects.",
        steps=({"name": "double"},),
        script=("1", "2", "three"),
        suggestions=("4", "four"),
    ),
)
