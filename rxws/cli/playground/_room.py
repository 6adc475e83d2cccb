"""The room that all visitors share: a topic of a hub, with history and presence."""

from __future__ import annotations

from typing import Any

import reactivex as rx
from aiohttp import web
from reactivex import Observable
from reactivex import operators as ops

import rxws

from ._parameters import check_text

__all__ = ["Room"]

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
        name = _checked("name", name, _LONGEST_NAME)
        return rx.merge(
            self._topic.presence.pipe(ops.map(_show)),
            self._topic.rewind(20),
            self._topic.joined(name),
        )

    def say(self, name: str, text: str) -> None:
        """Publish a message."""
        name = _checked("name", name, _LONGEST_NAME)
        text = _checked("message", text, _LONGEST_TEXT)
        self._topic.on_next({"name": name, "text": text})


def _show(names: frozenset[str]) -> dict[str, list[str]]:
    return {"here": sorted(names)}


def _checked(what: str, value: object, longest: int) -> str:
    """Return a text without surplus spaces, or raise `ValueError`."""
    if text := " ".join(check_text(what, value, longest).split()):
        return text
    raise ValueError(f"{what} must not be empty")
