"""The recorded events that the page has not seen yet, at a limited rate."""

from __future__ import annotations

import time
from typing import Any, cast

from rxws import Close, Recording
from rxws._core.close_codes import CLOSE_CODES
from rxws._recording.lane import LaneEntry

__all__ = ["EVENTS_PER_SECOND", "KEEP", "Budget", "Feed", "describe_close"]

EVENTS_PER_SECOND = 300
KEEP = 500  # events of each lane; more cannot be shown at once
_BURST = 800
_LONGEST = 80  # characters of a message that the page gets


class Budget:
    """A token bucket: how many more of something are allowed now."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._left = float(burst)
        self._at = time.monotonic()

    def take(self, count: int) -> int:
        """Take up to `count`; return how many were left."""
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        taken = min(count, int(self._left))
        self._left -= taken
        return taken


class Feed:
    """Collects new events: of the client, and of one server connection after the other."""

    def __init__(self, client: Recording) -> None:
        self._followed = [_Followed(client)]
        self._budget = Budget(EVENTS_PER_SECOND, _BURST)
        self.left_out = 0  # events that will not be shown

    def follow(self, recording: Recording) -> None:
        """Follow the recording of a new connection; forget the one before once it is collected."""
        client, *others = self._followed
        self._followed = [client, *(each for each in others if each.has_new), _Followed(recording)]

    def collect(self) -> list[dict[str, Any]]:
        """Return the new events, oldest first, each with its age in seconds."""
        found: list[tuple[float, int, dict[str, Any]]] = []
        # First the clocks, so that events of different recordings are in the right order.
        for each, now in [(each, each.recording.now) for each in self._followed if each.has_new]:
            found += each.new_events(now)
            self.left_out += each.lost
        found.sort(key=lambda event: event[:2])
        events = [event for _, _, event in found]
        extra = len(events) - self._budget.take(len(events))
        self.left_out += extra
        return _without(extra, events) if extra else events


class _Followed:
    """A recording, and how much of it was collected."""

    def __init__(self, recording: Recording) -> None:
        self.recording = recording
        self._seen = 0
        self.lost = 0  # events that were no longer kept when they were last collected

    @property
    def has_new(self) -> bool:
        return self.recording.count > self._seen

    def new_events(self, now: float) -> list[tuple[float, int, dict[str, Any]]]:
        recording, seen = self.recording, self._seen
        self._seen = recording.count
        entries = [
            (lane.name, entry)
            for lane in recording.lanes.values()
            for entry in lane.entries
            if entry.order > seen
        ]
        self.lost = self._seen - seen - len(entries)
        return [
            (entry.t - now, entry.order, _event(name, entry, now))
            for name, entry in entries
            if entry.type != "subscribed"
        ]


def _without(extra: int, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the oldest messages, but no end of a stream or connection, and no status."""
    kept: list[dict[str, Any]] = []
    for event in events:
        if extra and event["type"] == "next" and event["lane"] != "status":
            extra -= 1
        else:
            kept.append(event)
    return kept


def _event(lane: str, entry: LaneEntry, now: float) -> dict[str, Any]:
    data, kind = entry.data, entry.type
    event: dict[str, Any] = {"age": round(now - entry.t, 4), "lane": lane, "type": kind}
    if isinstance(data, Close):
        event.update(type="close", **describe_close(data))
    elif isinstance(data, str):
        event.update(text=_label(data), size=len(data.encode("utf-8", "replace")))
    elif isinstance(data, dict):  # a status
        event.update(cast(dict[str, Any], data))
    elif data is not None:
        event["text"] = _label(str(data) or type(data).__name__)
        if kind == "error":
            event["error"] = type(data).__name__
    return event


def describe_close(close: Close) -> dict[str, Any]:
    """Describe a close for the page."""
    known = CLOSE_CODES.get(close.code)
    if known is None:
        name = "your own code" if close.code >= 4000 else "registered code"
    else:
        name = known.name
    return {"code": close.code, "reason": close.reason, "by": close.by, "name": name}


def _label(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
