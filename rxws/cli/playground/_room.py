"""The room that all visitors share: a topic of a hub, with history and presence."""

from __future__ import annotations

from typing import Any

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws

__all__ = ["Room", "checked"]

_LONGEST_NAME = 20
_LONGEST_TEXT = 300


class Room:
    """Joins visitors to the topic, and publishes what they say."""

    def __init__(self, app: web.Application) -> None:
        hub = rxws.Hub(codec=rxws.codecs.json, topics={"room:*": rxws.Keep(20, seconds=3600)})
        hub.setup(app)
        self._topic = hub.topic("room:playground")

    def join(self, name: str) -> Observable[Any]:
        """Emit the latest messages, live ones, and who is there; present while subscribed."""
        name = checked("name", name, _LONGEST_NAME)
        return rx.merge(
            self._topic.presence.pipe(ops.map(_show)),
            self._topic.rewind(20),
            self._topic.joined(name),
        )

    def say(self, name: str, text: str) -> None:
        """Publish a message."""
        text = checked("message", text, _LONGEST_TEXT)
        self._topic.on_next({"name": checked("name", name, _LONGEST_NAME), "text": text})


def _show(names: frozenset[str]) -> dict[str, list[str]]:
    return {"here": sorted(names)}


def checked(what: str, text: object, longest: int) -> str:
    """Return a text without surplus spaces, or raise `ValueError`."""
    if not isinstance(text, str) or not text.strip() or len(text) > longest:
        raise ValueError(f"a {what} is a text of 1 to {longest} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a {what} must be valid Unicode") from None
    return " ".join(text.split())
