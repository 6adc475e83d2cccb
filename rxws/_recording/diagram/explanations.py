"""Explain dropped values and waits in a sentence each, for the legend of a diagram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from .axis import duration
from .model import Step, Track, WaitKind

__all__ = ["brief", "explain", "explanations"]

_TEXTS = {
    "silence": "{name} waits for {time} of silence, then emits the latest value",
    "restarted": "a new value came before that: the wait restarts, the earlier value is dropped",
    "flushed": "the input ended during the wait: the value comes out at once",
    "window": "every {time}, {name} emits the latest value and drops the ones before it",
    "closed": "after a value, {name} drops everything for {time}",
    "held": "the time until the value comes out",
    "timeout": "no value came for {time}: {name} fails",
}


def explanations(tracks: Sequence[Track]) -> list[tuple[str, str, int]]:
    """Return what to explain: the kind of mark, the sentence, and the position of its lane."""
    found: dict[tuple[str, str], int] = {}
    reasons = {reason for track in tracks for reason in track.drops.values()}
    if reasons:
        reason = reasons.pop() if len(reasons) == 1 else "that the next step dropped"
        at = next(index for index, track in enumerate(tracks) if track.drops)
        found["dropped", f"a value {reason}"] = at
    for index, track in enumerate(tracks):
        kinds = {wait.kind for wait in track.waits}
        for kind in get_args(WaitKind):
            if kind in kinds:
                found.setdefault((kind, explain(track, kind)), index)
    return [(kind, text, index) for (kind, text), index in found.items()]


def explain(track: Track, kind: WaitKind) -> str:
    """Return the sentence that explains a wait of a track."""
    step = track.step or Step("")
    time = "some time" if step.seconds is None else brief(step.seconds)
    text = _TEXTS["timeout" if step.operator == "timeout" else kind]
    return text.format(name=track.name, time=time)


def brief(seconds: float) -> str:
    """Return a time with its unit, without zeros at the end.

    Examples:
        >>> brief(0.3), brief(0.0125), brief(3)
        ('0.3 s', '12.5 ms', '3 s')
    """
    number, _, unit = duration(seconds).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}".rstrip()
