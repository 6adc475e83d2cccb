"""The style sheet of a diagram. Its classes have short names, as a page may have many diagrams."""

from __future__ import annotations

from .theme import CSS, LIGHT, MONO, SANS

__all__ = ["OPERATORS", "STYLE"]

OPERATORS = 6  # number of colours for operators


def _colour(attribute: str, colour: str) -> str:
    """Return a CSS declaration with a fallback for viewers that do not support variables."""
    return f"{attribute}:{LIGHT[colour]};{attribute}:var(--rxws-{colour})"


_LANES = {
    "sn": "muted",
    "i": "in",
    "o": "out",
    "e": "bad",
    **{f"c{n}": str(n) for n in range(1, OPERATORS + 1)},
}
STYLE = CSS + "".join(
    f"svg.rxws{selector}{{{rules}}}"
    for selector, rules in {
        "": f"display:block;direction:ltr;max-width:100%;height:auto;font:10px {SANS}",
        ":root": f"background:{LIGHT['page']};background:var(--rxws-page)",
        " text": f"{_colour('fill', 'fg')};unicode-bidi:plaintext;white-space:pre",
        " .ti": "font-size:13px;font-weight:600",
        " .na": "font-weight:600",
        " .de": f"font-size:10px;font-family:{MONO};{_colour('fill', 'muted')}",
        " .no": f"text-anchor:end;{_colour('fill', 'muted')};font-variant-numeric:tabular-nums",
        " .be": _colour("fill", "muted"),
        " .ax": f"text-anchor:middle;{_colour('fill', 'muted')};font-variant-numeric:tabular-nums",
        " .bx": f"{_colour('fill', 'box')};{_colour('stroke', 'edge')}",
        " .co": "fill:currentColor",
        " .gr": _colour("stroke", "grid"),
        " .ln": f"fill:none;stroke-width:1.5;{_colour('stroke', 'line')}",
        " .du": "stroke-dasharray:5 5",
        " .dl": "stroke-dasharray:1 4",
        " .m": f"fill:currentColor;stroke-width:1.5;{_colour('stroke', 'page')}",
        " .b": "fill:currentColor;opacity:.8",
        " .w": "fill:none;stroke:currentColor;stroke-width:1.5;stroke-linejoin:round",
        " .a": "fill:currentColor;opacity:.13",
        " .d": "fill:currentColor",
        " .h": "fill:none;pointer-events:all",
        " .p": f"font:600 10px {MONO};text-anchor:middle;{_colour('fill', 'on')}",
        " .r": f"font-size:12px;font-weight:600;text-anchor:middle;{_colour('fill', 'on')}",
        " .s": f"font-size:10px;font-weight:600;text-anchor:middle;{_colour('fill', 'on')}",
        " .t": "font-size:9.5px",
        " .l": f"font:9.5px {MONO};text-anchor:middle",
        " .en": f"stroke-width:3;stroke-linecap:round;{_colour('stroke', 'good')}",
        " .ke": f"font-size:11px;font-weight:700;{_colour('fill', 'good')}",
        " .x": f"fill:none;stroke-width:3;stroke-linecap:round;{_colour('stroke', 'bad')}",
        " .f": "stroke-width:2",
        " .ob .m": f"stroke:currentColor;stroke-width:2;{_colour('fill', 'page')}",
        " .ob .p,svg.rxws .ob .r,svg.rxws .ob .s": "fill:currentColor",
        " .tr": f"fill:none;{_colour('stroke', 'line')}",
        " .sp": "fill:none;stroke:currentColor;opacity:.45;stroke-dasharray:2 3",
        " .st": f"stroke:currentColor;stroke-width:1.5;{_colour('fill', 'page')}",
        " .lk": _colour("stroke", "muted"),
        " .lg": _colour("fill", "muted"),
        " .sl": f"font:9px {MONO};{_colour('fill', 'muted')}",
        " .q .m": f"stroke-width:1.5;{_colour('fill', 'page')};{_colour('stroke', 'muted')}",
        " .q text": _colour("fill", "muted"),
        " .wk": f"stroke-width:1.5;{_colour('fill', 'page')};{_colour('stroke', 'muted')}",
        " .wp": _colour("fill", "page"),
        " .wt": "fill:currentColor;fill-opacity:.28",
        " .wr": f"{_colour('fill', 'page')};stroke:currentColor;stroke-dasharray:2.5 2",
        " .wl": f"font-size:9px;text-anchor:middle;{_colour('fill', 'muted')}",
        " [class^=s-] text": f"font-weight:600;text-anchor:middle;{_colour('fill', 'on')}",
        " [class^=s-] .sb": f"text-anchor:end;{_colour('fill', 'muted')}",
        " .s-open rect": _colour("fill", "good"),
        " .s-connecting rect": f"{_colour('fill', '1')}",
        " .s-waiting rect": f"stroke-dasharray:3 3;{_colour('fill', 'page')};"
        f"{_colour('stroke', 'muted')}",
        " .s-waiting text,svg.rxws .s-closed text": _colour("fill", "muted"),
        " .s-closed rect": _colour("fill", "edge"),
        " .s-failed rect": _colour("fill", "bad"),
        " .s-failed text": _colour("fill", "on"),
        " .di": f"stroke-width:2;stroke-linecap:round;{_colour('stroke', 'line')}",
        " .xe": f"font-size:11px;font-weight:700;{_colour('fill', 'bad')}",
        **{f" .{kind}": _colour("color", name) for kind, name in _LANES.items()},
    }.items()
)
