"""The table as self-contained HTML, and as text."""

from __future__ import annotations

import html
from importlib.resources import files
from typing import Final

from rxws._recording.diagram.theme import CSS, MONO, SANS

from .rows import Frames, Row
from .text import escape, one_line

__all__ = ["table_html", "table_text"]

UNFOLDED = 64_000  # characters of the unfolded values of all rows together

_SIGNS: Final = {"in": "↓", "out": "↑", "error": "✕", "end": "■"}
_NAMES: Final = {"in": "received", "out": "sent", "error": "error", "end": "end"}
_SIZES: Final = (
    "Size of the payload; with ≈ the size of the decoded value as JSON, "
    "which can differ from the size on the wire"
)
_LEFT_OUT: Final = "<p>left out: the table is full with newer frames</p>"


def _lines(name: str) -> str:
    # Without comments and indentation, as the browser receives it with each change of the table.
    lines = files("rxws.viz.frame_table").joinpath(name).read_text(encoding="utf-8").splitlines()
    kept = (line.strip() for line in lines)
    return "\n".join(line for line in kept if line and not line.startswith(("//", "/*")))


_STYLE: Final = f"{CSS}.rxws{{--rxws-sans:{SANS};--rxws-mono:{MONO}}}{_lines('table.css')}"
_SCRIPT: Final = _lines("table.js")


def table_html(frames: Frames, table_id: str) -> str:
    """Return the table as HTML with its styles, and with a script that adds the tools above it.

    The id must stay the same when the table is redrawn. It has letters, digits and hyphens.
    """
    rows: list[str] = []
    room = UNFOLDED
    for row in reversed(frames.rows):
        whole = row.payload.whole if room > 0 else _LEFT_OUT * row.payload.unfolds
        room -= len(whole)
        rows.append(_row(row, whole))
    body = "".join(reversed(rows))
    none = f'<div class="rxws-none">{escape(frames.note)}</div>' if frames.note else ""
    older = f" · {frames.older:,} older left out" if frames.older else ""
    return (
        f'<div class="rxws rxws-frames" data-rxws-frames="{html.escape(table_id)}">'
        f"<style>{_STYLE}</style>"
        f'<div class="rxws-head"><b>{escape(one_line(frames.title))}</b>'
        f'<span><i class="in">↓</i> {frames.received:,} <i class="out">↑</i> {frames.sent:,}'
        f"{older}</span></div>"
        f'<div class="rxws-scroll" tabindex="0">{none}<table class="rxws-table"><thead><tr>'
        '<th class="time">Time, s</th><th class="dir"></th>'
        f'<th class="size" title="{_SIZES}">Size</th><th class="data">Data</th></tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"<script>{_SCRIPT.replace('%ID%', table_id)}</script></div>"
    )


def _row(row: Row, whole: str) -> str:
    text = escape(row.payload.line)
    data = (
        f"<details><summary>{text}</summary>{whole}</details>" if whole else f"<span>{text}</span>"
    )
    sort = f"{row.sort} bad" if row.bad else row.sort
    if row.payload.kind == "close":
        sort += " closing"
    sign = "✕" if row.bad else _SIGNS[row.sort]
    return (
        f'<tr class="{sort}" data-n="{row.number}"><td class="time">{_time(row.t)}</td>'
        f'<td class="dir" title="{_NAMES[row.sort]}">{sign}</td>'
        f'<td class="size">{escape(row.payload.size)}</td><td class="data">{data}</td></tr>'
    )


def table_text(frames: Frames, rows: int = 10, cols: int = 100) -> str:
    """Return the head and the last rows as text, with lines of at most `cols` characters."""
    last = frames.rows[-rows:]
    before = len(frames.rows) - len(last) + frames.older
    more = f", {before:,} before these" if before else ""
    head = f"{one_line(frames.title)}: ↓ {frames.received:,} ↑ {frames.sent:,}{more}"
    lines = [
        f"{_time(row.t):>10} {'✕' if row.bad else _SIGNS[row.sort]} {row.payload.size:>9}  "
        f"{row.payload.line}"
        for row in last
    ]
    note = [f"  {frames.note}"] if frames.note else []
    every = [head.removeprefix(": "), *lines, *note]
    return "\n".join(line if len(line) <= cols else f"{line[: cols - 1]}…" for line in every)


def _time(seconds: float) -> str:
    """Return a time as seconds and milliseconds, with minutes and hours if there are any."""
    millis = round(abs(seconds) * 1000)
    sign = "-" if seconds < 0 else ""
    minutes, millis = divmod(millis, 60_000)
    if not minutes:
        return f"{sign}{millis / 1000:.3f}"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{sign}{minutes}:{millis / 1000:06.3f}"
    return f"{sign}{hours}:{minutes:02}:{millis / 1000:06.3f}"
