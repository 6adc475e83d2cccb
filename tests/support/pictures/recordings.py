"""Made-up recordings of connections, and how a notebook shows HTML."""

from __future__ import annotations

import json
from typing import Any

from rxws import Recording
from rxws._recording.jsonl import Event
from support.peers.browser import Page

# JupyterLab does the same: scripts in innerHTML do not run, so each is replaced by a copy.
PUT = """(html) => {
    const host = document.querySelector("#host");
    host.innerHTML = html;
    for (const script of [...host.querySelectorAll("script")]) {
        const clone = document.createElement("script");
        clone.textContent = script.textContent;
        script.replaceWith(clone);
    }
}"""


def blank(title: str = "ws://peer.example/", keep: int = 1000) -> Recording:
    """Return an empty recording with the lanes of a connection."""
    recording = Recording(title=title, keep=keep)
    for name in ("incoming", "outgoing", "errors", "closed"):
        recording.lane(name)
    recording.lanes["incoming"].dir, recording.lanes["outgoing"].dir = "in", "out"
    return recording


def add(recording: Recording, lane: str, data: Any, t: float = 0.0, type: str = "next") -> None:  # noqa: A002 # as the format has it
    """Add an event."""
    recording.lane(lane).add(Event(t, lane, recording.lanes[lane].dir, type, data))


def count(recording: Recording, start: int, end: int) -> None:
    """Add numbered messages, 0.1 s apart; every third one is sent."""
    for i in range(start, end):
        add(recording, "outgoing" if i % 3 == 2 else "incoming", json.dumps({"i": i}), i / 10)


async def put(page: Page, html: str) -> None:
    """Replace the content of the page by HTML, as a notebook does."""
    await page.evaluate(f"({PUT})({json.dumps(html)})")
