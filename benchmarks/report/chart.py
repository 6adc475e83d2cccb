"""The chart of a run: a panel for each case, a bar for each peer, as SVG, from nothing but text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from benchmarks.harness.cases import SUBJECT
from benchmarks.harness.results import Result, per_map, quantity

WIDTH = 860
MARGIN, GAP = 24, 28
PANEL = (WIDTH - 2 * MARGIN - GAP) // 2
LABELS, FIGURES = 136, 50  # what is left and right of the bars
TOP, FOOT = 66, 14
HEAD, ROW, BAR = 44, 21, 13
TITLES = {
    "pingpong": ("One message in flight", "20 connections, 32 bytes"),
    "pipelined": ("64 messages in flight", "8 connections, 32 bytes"),
    "large": ("Large messages", "4 connections, 4 in flight, 64 KiB"),
    "deflate": ("permessage-deflate", "4 connections, 4 in flight, 1 KiB of JSON"),
    "client": ("A client that receives", "64 in flight, 32 bytes"),
    "cycles": ("Connections opened and closed", "CPU of each, 16 at a time"),
    "operators": ("Each further ops.map", "in the pipeline of the echo"),
}
STYLE = """
    .card { fill: #fbfcfd; stroke: #d5dbe1 }
    .ink { fill: #1f2830 } .dim { fill: #586673 }
    .axis { stroke: #aab4bd } .whisker { stroke: #1f2830; stroke-opacity: .55 }
    .bar { fill: #b3bec8 } .ours { fill: #00897b } .kin { fill: #80cbc4 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #1a1f26; stroke: #3a4450 }
      .ink { fill: #e4e9ee } .dim { fill: #a3afba }
      .axis { stroke: #5c6874 } .whisker { stroke: #ffffff; stroke-opacity: .6 }
      .bar { fill: #586673 } .ours { fill: #26a69a } .kin { fill: #1f6660 }
    }
    .head { font-weight: 600; font-size: 14px } .end { text-anchor: end }
    .figure { font-variant-numeric: tabular-nums }
"""


@dataclass(frozen=True)
class Bar:
    """One peer in a panel: the median, and the smallest and the largest of the rounds."""

    label: str
    kind: str  # the class of the style sheet
    values: list[float]

    @property
    def middle(self) -> float:
        return median(self.values)


def bars(result: Result) -> list[Bar]:
    """What a panel shows, in the order in which it was measured."""
    found: list[Bar] = []
    for series in result.series:
        if series.maps != result.of.maps[0]:
            continue
        several = len(result.of.maps) > 1
        values = per_map(result, series.peer) if several else quantity(series.rounds)
        if values:
            found.append(Bar(series.title, kind(series.peer), values))
    return found


def kind(peer: str) -> str:
    if peer == SUBJECT:
        return "bar ours"
    return "bar kin" if peer.startswith(("push", "pull")) else "bar"


def chart(results: Sequence[Result], loop: str) -> str:
    """All cases of one loop."""
    panels = [(result, found) for result in results if (found := bars(result))]
    heights = [HEAD + ROW * max(len(found) for _, found in pair) for pair in pairs(panels)]
    height = TOP + sum(heights) + GAP * max(len(heights) - 1, 0) + MARGIN + FOOT
    body: list[str] = []
    y = TOP
    for pair, size in zip(pairs(panels), heights, strict=True):
        for column, (result, found) in enumerate(pair):
            body += panel(MARGIN + column * (PANEL + GAP), y, result, found)
        y += size + GAP
    where = "asyncio, the default loop" if loop == "asyncio" else loop
    lines = "\n  ".join(body)
    said = "; ".join(spoken(result, found) for result, found in panels)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" \
font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif" \
font-size="13" role="img" aria-labelledby="title desc">
  <title id="title">CPU time per message, with {escape(where)}</title>
  <desc id="desc">{escape(said)}</desc>
  <style>{STYLE}  </style>
  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>
  <text class="ink head" x="{MARGIN}" y="30">CPU time per message, in µs: less is better</text>
  <text class="dim" x="{MARGIN}" y="49">{escape(where)}; \
medians, and the smallest and the largest of the rounds as lines</text>
  {lines}
</svg>
"""


def pairs(panels: Sequence[tuple[Result, list[Bar]]]) -> list[Sequence[tuple[Result, list[Bar]]]]:
    return [panels[at : at + 2] for at in range(0, len(panels), 2)]


def panel(x: int, y: int, result: Result, found: Sequence[Bar]) -> list[str]:
    title, under = TITLES[result.case]
    left, right = x + LABELS, x + PANEL - FIGURES
    longest = max(max(bar.values) for bar in found) or 1.0
    scale = (right - left) / max(longest, 1e-9)
    lines = [
        f'<text class="ink head" x="{x}" y="{y + 14}">{escape(title)}</text>',
        f'<text class="dim" x="{x}" y="{y + 31}">{escape(under)}</text>',
    ]
    for number, bar in enumerate(found):
        top = y + HEAD + number * ROW
        base, middle = top + BAR - 2, top + BAR / 2
        low, high = (left + max(value, 0) * scale for value in (min(bar.values), max(bar.values)))
        width = max(bar.middle, 0) * scale
        shade = "ink" if "ours" in bar.kind else "dim"
        lines += [
            f'<text class="{shade} end" x="{left - 8}" y="{base}">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{left}" y="{top}" width="{width:.1f}" height="{BAR}"/>',
            f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}"/>',
            f'<text class="ink figure end" x="{x + PANEL}" y="{base}">{figure(bar.middle)}</text>',
        ]
    bottom = y + HEAD + (len(found) - 1) * ROW + BAR
    lines.append(f'<path class="axis" d="M{left} {y + HEAD - 4}V{bottom + 4}"/>')
    return lines


def spoken(result: Result, found: Sequence[Bar]) -> str:
    """A panel for those who hear the chart."""
    title = TITLES[result.case][0]
    return f"{title}: " + ", ".join(f"{bar.label} {figure(bar.middle)} µs" for bar in found)


def figure(value: float) -> str:
    """Three digits that matter."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
