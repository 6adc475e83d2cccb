"""The table as self-contained HTML, and as text."""

from __future__ import annotations

import html
from importlib.resources import files
from typing import Final

from rxws._recording.diagram.svg.theme import CSS, MONO, SANS

from .rows import Row, TableContent
from .text import escape, one_line

__all__ = ["table_html", "table_text"]

MAX_UNFOLDED = 64_000  # characters of the unfolded values of all rows together

_SIGNS: Final = {"in": "↓", "out": "↑", "error": "✕", "end": "■"}
_NAMES: Final = {"in": "received", "out": "sent", "error": "error", "end": "end"}
_SIZES: Final = (
    "Size of the payload; with ≈ the size of the decoded value as JSON, "
    "which can differ from the size on the wire"
)
_LEFT_OUT: Final = "<p>left out: the table is full with newer frames</p>"


def _minified(name: str) -> str:
    # Each redraw sends the file to the browser again: leave out comments and indentation.
    lines = files("rxws.viz.frame_table").joinpath(name).read_text(encoding="utf-8").splitlines()
    kept = (line.strip() for line in lines)
    return "\n".join(line for line in kept if line and not line.startswith(("//", "/*")))


_STYLE: Final = f"{CSS}.rxws{{--rxws-sans:{SANS};--rxws-mono:{MONO}}}{_minified('table.css')}"
_SCRIPT: Final = _minified("table.js")


def table_html(content: TableContent, table_id: str) -> str:
    """Return the table as HTML, with its styles and the script that adds the tools above it.

    The id must stay the same when the table is redrawn. Use letters, digits and hyphens only.
    """
    rows: list[str] = []
    room = MAX_UNFOLDED
    for row in reversed(content.rows):
        whole = row.payload.whole if room > 0 else _LEFT_OUT if row.payload.unfolds else ""
        room -= len(whole)
        rows.append(_row(row, whole))
    body = "".join(reversed(rows))
    note = f'<div class="rxws-none">{escape(content.note)}</div>' if content.note else ""
    older = f" · {content.older:,} older left out" if content.older else ""
    return (
        f'<div class="rxws rxws-frames" data-rxws-frames="{html.escape(table_id)}">'
        f"<style>{_STYLE}</style>"
        f'<div class="rxws-head"><b>{escape(one_line(content.title))}</b>'
        f'<span><i class="in">↓</i> {content.received:,} <i class="out">↑</i> {content.sent:,}'
        f"{older}</span></div>"
        f'<div class="rxws-scroll" tabindex="0">{note}<table class="rxws-table"><thead><tr>'
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
    classes = f"{row.kind} bad" if row.is_error else row.kind
    if row.payload.kind == "close":
        classes += " closing"
    return (
        f'<tr class="{classes}" data-n="{row.number}"><td class="time">{_time(row.t)}</td>'
        f'<td class="dir" title="{_NAMES[row.kind]}">{_sign(row)}</td>'
        f'<td class="size">{escape(row.payload.size)}</td><td class="data">{data}</td></tr>'
    )


def _sign(row: Row) -> str:
    return "✕" if row.is_error else _SIGNS[row.kind]


def table_text(content: TableContent, rows: int = 10, cols: int = 100) -> str:
    """Return the title, the counts and the last rows as text, `cols` characters wide."""
    last = content.rows[-rows:]
    before = len(content.rows) - len(last) + content.older
    more = f", {before:,} before these" if before else ""
    head = f"{one_line(content.title)}: ↓ {content.received:,} ↑ {content.sent:,}{more}"
    lines = [
        f"{_time(row.t):>10} {_sign(row)} {row.payload.size:>9}  {row.payload.line}" for row in last
    ]
    note = [f"  {content.note}"] if content.note else []
    lines = [head.removeprefix(": "), *lines, *note]
    return "\n".join(line if len(line) <= cols else f"{line[: cols - 1]}…" for line in lines)


def _time(seconds: float) -> str:
    """Return a time such as `1.234`, `1:01.234` or `1:00:01.234`."""
    millis = round(abs(seconds) * 1000)
    sign = "-" if seconds < 0 else ""
    minutes, millis = divmod(millis, 60_000)
    if not minutes:
        return f"{sign}{millis / 1000:.3f}"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{sign}{minutes}:{millis / 1000:06.3f}"
    return f"{sign}{hours}:{minutes:02}:{millis / 1000:06.3f}"
