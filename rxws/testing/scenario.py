"""The actions of a simulated peer, read from marbles or from a recording."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rxws._recording.jsonl import Event, RecordedValue
from rxws._recording.recording import Recording
from rxws.closing import is_wire_code
from rxws.codecs import Codec

from .notation import check_names, parse

__all__ = ["PeerAction", "Scenario", "encode"]


class PeerAction(NamedTuple):
    """An action of the peer at a time."""

    at: float  # seconds from the start
    sign: str  # as in `Token`: `""` for a message
    value: Any = None  # the message, or the close
    encoded: bool = False  # whether the message is a frame already


class Scenario(NamedTuple):
    """The peer's actions, and their length in seconds."""

    actions: list[PeerAction]
    seconds: float

    @classmethod
    def from_marbles(cls, text: str, step: float, values: Mapping[str, Any]) -> Scenario:
        """Read marbles. A name that is not in `values` is a text frame."""
        tokens, seconds = parse(text, step)
        check_names(tokens, values)
        actions = [
            PeerAction(token.at, token.sign, token.close)
            if token.sign
            else PeerAction(
                token.at, "", values.get(token.name, token.name), token.name not in values
            )
            for token in tokens
        ]
        return cls(actions, seconds)

    @classmethod
    def from_recording(cls, recording: Recording, use_frames: bool) -> Scenario:
        """Repeat the messages and the close of a recorded connection's peer.

        Without `use_frames`, the peer encodes the values instead, where they are known.
        """
        if "incoming" not in recording.lanes:
            raise ValueError(
                f"{recording!r} has no lane 'incoming': use a recording of a connection"
            )
        events = recording.lanes["incoming"].events
        actions = [_message(event, use_frames) for event in events if event.type == "next"]
        closes = recording.lanes["closed"].events if "closed" in recording.lanes else []
        for event in closes:
            if event.type == "close" and event.data.by != "local":
                lost = event.data.by == "network" or not is_wire_code(event.data.code)
                actions.append(
                    PeerAction(event.t, "#") if lost else PeerAction(event.t, "{", event.data)
                )
        return cls(actions, max((action.at for action in actions), default=0.0))


def _message(event: Event, use_frames: bool) -> PeerAction:
    lost = isinstance(event.data, RecordedValue)
    if event.frame is not None and (use_frames or lost):
        return PeerAction(event.t, "", event.frame, encoded=True)
    if lost:
        raise ValueError(
            f"the recording has neither the value nor the frame of {event.data!r:.80}: it was "
            "saved by an older version; record the connection again"
        )
    return PeerAction(event.t, "", event.data)


def encode(value: Any, codec: Codec[Any, Any]) -> str | bytes:
    """Encode a message of the peer."""
    try:
        return codec.encode(value)
    except Exception as exc:
        raise ValueError(
            f"the peer's codec cannot encode {value!r:.80} ({exc}): pass another value, or a "
            "peer_codec"
        ) from exc
