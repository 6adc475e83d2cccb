"""Draw the layers of the package: run `python docs/images/layers.py`.

The rows are the contract "Folders are layers" in pyproject.toml, which `make lint` checks.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
FILE = Path(__file__).with_suffix(".svg")

STYLE = """
    .card { fill: #fbfcfd; stroke: #d5dbe1 }
    .ink { fill: #1f2830 } .dim { fill: #586673 }
    .box { fill: #ffffff; stroke: #8795a1 } .public { fill: #e0f2f1; stroke: #00897b }
    .line { stroke: #8795a1; fill: none; stroke-width: 2 } .tip { fill: #8795a1 }
    @media (prefers-color-scheme: dark) {
      .card { fill: #1a1f26; stroke: #3a4450 }
      .ink { fill: #e4e9ee } .dim { fill: #a3afba }
      .box { fill: #242b33; stroke: #758391 } .public { fill: #12312f; stroke: #4db6ac }
      .line { stroke: #758391 } .tip { fill: #758391 }
    }
    .name { font-family: ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace }
    .name { font-weight: 600; font-size: 14px } .mid { text-anchor: middle }
"""
FONT = (
    "font-family=\"system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif\" "
    'font-size="12"'
)
WIDTH, ROW, GAP, MARGIN = 760, 54, 18, 20


def layers() -> list[list[str]]:
    """Return the names in each layer, from the top."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    [rows] = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [[name.strip() for name in row.split("|")] for row in rows]


def summary(name: str) -> str:
    """Return the first clause of a module's or package's docstring."""
    path = ROOT / "rxws" / name
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or ""
    first = " ".join(doc.partition("\n\n")[0].split())
    return re.split(r"[:;] |\.$", first)[0].replace("`", "")


def box(name: str, x: float, y: float, width: float, says: str) -> str:
    """Draw one folder or module."""
    look = "box" if name.startswith("_") else "public"
    middle = x + width / 2
    return (
        f'<rect class="{look}" x="{x:g}" y="{y:g}" width="{width:g}" height="{ROW}" rx="8"/>'
        f'<text class="ink name mid" x="{middle:g}" y="{y + (23 if says else 32):g}">{name}</text>'
        + (f'<text class="dim mid" x="{middle:g}" y="{y + 41:g}">{says}</text>' if says else "")
    )


def picture() -> str:
    """Return the text of the SVG file."""
    rows, body = layers(), list[str]()
    for number, names in enumerate(rows):
        y = MARGIN + number * (ROW + GAP)
        width = (WIDTH - 2 * MARGIN - GAP * (len(names) - 1)) / len(names)
        for place, name in enumerate(names):
            says = "" if len(names) > 2 else summary(name)
            body.append(box(name, MARGIN + place * (width + GAP), y, width, says))
        if number < len(rows) - 1:
            path = f"M{WIDTH // 2} {y + ROW + 1}V{y + ROW + GAP - 3}"
            body.append(f'<path class="line" d="{path}" marker-end="url(#layers-tip)"/>')
    height = 2 * MARGIN + len(rows) * (ROW + GAP) - GAP
    order = ", ".join(" and ".join(names) for names in rows)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" {FONT}
  role="img" aria-labelledby="layers-title layers-desc">
  <title id="layers-title">The layers of rxws</title>
  <desc id="layers-desc">From the top: {order}. Each layer may import the layers below it.</desc>
  <style>{STYLE}  </style>
  <defs><marker id="layers-tip" viewBox="0 0 10 10" refX="8" refY="5" markerWidth="9"
    markerHeight="9" markerUnits="userSpaceOnUse" orient="auto"><path class="tip"
    d="M0 0 10 5 0 10z"/></marker></defs>
  <rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>
  {chr(10).join(body).replace(chr(10), chr(10) + "  ")}
</svg>
"""


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
