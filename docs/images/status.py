"""Draw the state diagram of `rxws.status`: run `python docs/images/status.py`.

Its arrows are those of `rxws.status.TRANSITIONS`.
"""

from __future__ import annotations

from pathlib import Path

from rxws.status import TRANSITIONS, Closed, Connecting, Open, Status, Waiting

FILE = Path(__file__).with_suffix(".svg")

STYLE = """
    .card { fill: #fbfcfd; stroke: #d5dbe1 }
    .ink { fill: #1f2830 } .dim { fill: #586673 }
    .box { fill: #ffffff; stroke: #8795a1 } .rest { stroke: #8795a1; fill: none }
    .rest-tip, .rest-text { fill: #586673 }
    .ours { fill: #e0f2f1; stroke: #00897b }
    .good { stroke: #00796b; fill: none } .good-tip, .good-text { fill: #00796b }
    .again { stroke: #3f51b5; fill: none } .again-tip, .again-text { fill: #3f51b5 }
    .stop { stroke: #c25700; fill: none } .stop-tip, .stop-text { fill: #b04e00 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #1a1f26; stroke: #3a4450 }
      .ink { fill: #e4e9ee } .dim { fill: #a3afba }
      .box { fill: #242b33; stroke: #758391 } .rest { stroke: #758391 }
      .rest-tip, .rest-text { fill: #a3afba }
      .ours { fill: #12312f; stroke: #4db6ac }
      .good { stroke: #4db6ac } .good-tip, .good-text { fill: #4db6ac }
      .again { stroke: #9fa8da } .again-tip, .again-text { fill: #9fa8da }
      .stop { stroke: #ffab57 } .stop-tip, .stop-text { fill: #ffab57 }
    }
    .line { stroke-width: 2 } .head { font-weight: 600; font-size: 15px }
    .mid { text-anchor: middle } .end { text-anchor: end }
    .code { font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace }
    .code { font-size: 12px }
"""

FONT = (
    "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\" "
    'font-size="13"'
)
WIDTH, HEIGHT = 150, 58

# Each status: the centre of its box, the box's CSS class, and the fields of the status.
PLACES: dict[type[Status], tuple[int, int, str, str]] = {
    Open: (380, 55, "ours", "handshake"),
    Closed: (120, 205, "box", "close, error"),
    Connecting: (640, 205, "box", "attempt"),
    Waiting: (380, 355, "box", "delay, cause"),
}

# Each arrow: its CSS class, its path, the position and anchor of its label, and the label's lines.
ARROWS: dict[
    tuple[type[Status], type[Status]], tuple[str, str, tuple[int, int], str, tuple[str, ...]]
] = {
    (Closed, Connecting): ("good", "M195 193H561", (380, 183), "mid", ("first subscriber",)),
    (Connecting, Closed): (
        "stop",
        "M565 217H199",
        (380, 237),
        "mid",
        ("final error, or no subscribers left",),
    ),
    (Connecting, Open): ("good", "M640 176L458 66", (566, 112), "", ("connection opens",)),
    (Open, Closed): ("rest", "M305 62L124 173", (194, 112), "end", ("connection ends",)),
    (Connecting, Waiting): (
        "again",
        "M600 234L453 329",
        (506, 266),
        "end",
        ("attempt", "fails"),
    ),
    (Waiting, Connecting): ("again", "M455 356L648 237", (576, 306), "", ("delay is over",)),
    (Closed, Waiting): (
        "again",
        "M160 234L307 329",
        (254, 266),
        "",
        ("connection lost,", "will retry"),
    ),
    (Waiting, Closed): (
        "stop",
        "M305 356L112 237",
        (184, 306),
        "end",
        ("no subscribers", "left"),
    ),
}


def arrow(look: str, path: str, at: tuple[int, int], anchor: str, lines: tuple[str, ...]) -> str:
    """Draw an arrow with its label."""
    x, y = at
    text = "".join(
        f'<text class="{look}-text {anchor}" x="{x}" y="{y + 16 * number}">{line}</text>'
        for number, line in enumerate(lines)
    )
    return f'<path class="{look} line" d="{path}" marker-end="url(#status-{look})"/>{text}'


def box(status: type[Status]) -> str:
    """Draw the box of a status."""
    x, y, look, carries = PLACES[status]
    return (
        f'<rect class="{look}" x="{x - WIDTH // 2}" y="{y - HEIGHT // 2}" width="{WIDTH}" '
        f'height="{HEIGHT}" rx="8"/>'
        f'<text class="ink head mid" x="{x}" y="{y - 3}">{status.__name__}</text>'
        f'<text class="dim code mid" x="{x}" y="{y + 17}">{carries}</text>'
    )


def picture() -> str:
    """Return the text of the SVG file."""
    pairs = [
        (before, status)
        for before, after in TRANSITIONS.items()
        for status in PLACES
        if status in after
    ]
    steps = "; ".join(
        f"{before.__name__} to {status.__name__}: {' '.join(ARROWS[before, status][-1])}"
        for before, status in pairs
    )
    tips = "".join(
        f'<marker id="status-{look}" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="10" '
        f'markerHeight="10" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="{look}-tip" d="M0 0 10 5 0 10z"/></marker>'
        for look in ("good", "again", "stop", "rest")
    )
    body = "\n  ".join([*(arrow(*ARROWS[pair]) for pair in pairs), *map(box, PLACES)])
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 410" {FONT}
  role="img" aria-labelledby="status-title status-desc">
  <title id="status-title">States of a reconnecting client</title>
  <desc id="status-desc">The first state is Closed. {steps}.</desc>
  <style>{STYLE}  </style>
  <defs>{tips}</defs>
  <rect class="card" x="0.5" y="0.5" width="759" height="409" rx="8"/>
  <circle class="rest-tip" cx="14" cy="205" r="5"/>
  <path class="rest line" d="M19 205H41" marker-end="url(#status-rest)"/>
  {body}
</svg>
"""


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
