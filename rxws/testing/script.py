"""What the peer of a simulation does, and when: out of marbles, or out of a recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rxws.closing import is_wire_code
from rxws.codecs import Codec
from rxws.recording import Recording

from .notation import parse

__all__ = ["Act", "encode", "played", "replayed"]


class Act(NamedTuple):
    """What the peer does at a time: a sign as in marbles, `""` for a message."""

    at: float
    sign: str
    value: Any = None
    encoded: bool = False


def played(text: str, step: float, names: Mapping[str, Any]) -> tuple[list[Act], float]:
    """Read marbles; what names stand for is still to be encoded."""
    marks, length = parse(text, step)
    return [
        Act(mark.at, mark.sign, mark.close)
        if mark.sign
        else Act(mark.at, "", names.get(mark.name, mark.name), mark.name not in names)
        for mark in marks
    ], length


def replayed(recording: Recording) -> tuple[list[Act], float]:
    """The peer of a recorded connection: what came in, and how that ended."""
    if "incoming" not in recording.lanes:
        raise ValueError(f"{recording!r} has no lane 'incoming': it is no connection's")
    events = recording.lanes["incoming"].events
    acts = [Act(event.t, "", event.data) for event in events if event.type == "next"]
    closes = recording.lane("closed").events if "closed" in recording.lanes else []
    for event in closes:
        if event.type == "close" and event.data.by != "local":
            lost = event.data.by == "network" or not is_wire_code(event.data.code)
            acts.append(Act(event.t, "#") if lost else Act(event.t, "{", event.data))
    return acts, max((act.at for act in acts), default=0.0)


def encode(value: Any, codec: Codec[Any, Any]) -> str | bytes:
    """Make the peer's message of a value."""
    try:
        return codec.encode(value)
    except Exception as exc:
        raise ValueError(
            f"{value!r:.80} cannot be encoded by the peer's codec ({exc}): give another value, or "
            "a peer_codec"
        ) from exc
