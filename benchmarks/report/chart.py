"""Draw the results of a run as SVG: a panel for each case, a bar for each peer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from statistics import median

from benchmarks.harness.cases import GOAL_PEER
from benchmarks.harness.results import Result, cost_per_map, values_of

WIDTH = 860
MARGIN, GAP = 24, 28
PANEL = (WIDTH - 2 * MARGIN - GAP) // 2
LABELS, FIGURES = 136, 50  # width of the texts left and right of the bars
TOP, FOOT = 66, 14
HEAD, ROW, BAR = 44, 21, 13
TITLES = {
    "pingpong": ("One message in flight", "20 connections, 32 bytes"),
    "pipelined": ("64 messages in flight", "8 connections, 32 bytes"),
    "large": ("Large messages", "4 connections, 4 in flight, 64 KiB"),
    "deflate": ("permessage-deflate", "4 connections, 4 in flight, 1 KiB of JSON"),
    "client": ("Client that receives", "64 in flight, 32 bytes"),
    "cycles": ("Connections opened and closed", "CPU per connection, 16 in parallel"),
    "operators": ("Each additional ops.map", "in the pipeline of the echo"),
    "rpc": ("JSON-RPC call, or echo of it", "20 connections, one in flight"),
    "rpc-pipelined": ("64 JSON-RPC calls in flight", "8 connections, calls or echoes"),
    "fanout": ("One message to 500 connections", "CPU per delivery, 32 bytes"),
    "fanout-burst": ("Bursts of 10 messages", "CPU per delivery, 500 connections, 32 bytes"),
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
    """One peer in a panel: the median, the minimum and the maximum of the rounds."""

    label: str
    kind: str  # CSS classes
    values: list[float]

    @property
    def middle(self) -> float:
        return median(self.values)


def panel_bars(result: Result) -> list[Bar]:
    """Return the bars of a panel, in the order of measurement."""
    bars: list[Bar] = []
    for series in result.series:
        if series.maps != result.definition.maps[0]:
            continue
        several = len(result.definition.maps) > 1
        values = cost_per_map(result, series.peer) if several else values_of(series.rounds)
        if values:
            bars.append(Bar(series.title, kind(series.peer), values))
    return bars


def kind(peer: str) -> str:
    if peer == GOAL_PEER:
        return "bar ours"
    return "bar kin" if peer.startswith(("push", "pull", "rpc", "subject", "hub")) else "bar"


def chart(results: Sequence[Result], loop: str) -> str:
    """Return the SVG of all cases on one event loop."""
    panels = [(result, bars) for result in results if (bars := panel_bars(result))]
    heights = [HEAD + ROW * max(len(bars) for _, bars in pair) for pair in pairs(panels)]
    height = TOP + sum(heights) + GAP * max(len(heights) - 1, 0) + MARGIN + FOOT
    body: list[str] = []
    y = TOP
    for pair, size in zip(pairs(panels), heights, strict=True):
        for column, (result, bars) in enumerate(pair):
            body += panel(MARGIN + column * (PANEL + GAP), y, result, bars)
        y += size + GAP
    where = "asyncio, the default event loop" if loop == "asyncio" else loop
    lines = "\n  ".join(body)
    description = "; ".join(describe_panel(result, bars) for result, bars in panels)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" \
font-family="system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif" \
font-size="13" role="img" aria-labelledby="title desc">
  <title id="title">CPU time per message, with {escape(where)}</title>
  <desc id="desc">{escape(description)}</desc>
  <style>{STYLE}  </style>
  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>
  <text class="ink head" x="{MARGIN}" y="30">CPU time per message, in µs (lower is better)</text>
  <text class="dim" x="{MARGIN}" y="49">{escape(where)}; \
bars: median of the rounds, lines: minimum to maximum</text>
  {lines}
</svg>
"""


def pairs(panels: Sequence[tuple[Result, list[Bar]]]) -> list[Sequence[tuple[Result, list[Bar]]]]:
    return [panels[at : at + 2] for at in range(0, len(panels), 2)]


def panel(x: int, y: int, result: Result, bars: Sequence[Bar]) -> list[str]:
    title, under = TITLES[result.case]
    left, right = x + LABELS, x + PANEL - FIGURES
    longest = max(max(bar.values) for bar in bars) or 1.0
    scale = (right - left) / max(longest, 1e-9)
    lines = [
        f'<text class="ink head" x="{x}" y="{y + 14}">{escape(title)}</text>',
        f'<text class="dim" x="{x}" y="{y + 31}">{escape(under)}</text>',
    ]
    for number, bar in enumerate(bars):
        top = y + HEAD + number * ROW
        base, middle = top + BAR - 2, top + BAR / 2
        low, high = (left + max(end, 0) * scale for end in (min(bar.values), max(bar.values)))
        width, value = max(bar.middle, 0) * scale, format_value(bar.middle)
        shade = "ink" if "ours" in bar.kind else "dim"
        lines += [
            f'<text class="{shade} end" x="{left - 8}" y="{base}">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{left}" y="{top}" width="{width:.1f}" height="{BAR}"/>',
            f'<path class="whisker" d="M{low:.1f} {middle}H{high:.1f}"/>',
            f'<text class="ink figure end" x="{x + PANEL}" y="{base}">{value}</text>',
        ]
    bottom = y + HEAD + (len(bars) - 1) * ROW + BAR
    lines.append(f'<path class="axis" d="M{left} {y + HEAD - 4}V{bottom + 4}"/>')
    return lines


def describe_panel(result: Result, bars: Sequence[Bar]) -> str:
    """Describe a panel in words, for screen readers."""
    title = TITLES[result.case][0]
    return f"{title}: " + ", ".join(f"{bar.label} {format_value(bar.middle)} µs" for bar in bars)


def format_value(value: float) -> str:
    """Format a number with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
