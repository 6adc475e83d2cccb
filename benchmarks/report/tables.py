"""What a run has found, as tables in Markdown that can be read in a terminal, too."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.harness.cases import Goal
from benchmarks.harness.results import Report, Result, per_map, quantity, ratio, reached
from benchmarks.harness.rounds import Series

NONE = DASH = "\N{EN DASH}"
MET = "\N{CHECK MARK}"
TIMES = "\N{MULTIPLICATION SIGN}"
SPREAD = f"min{DASH}max"
BASES = {"aiohttp": f"{TIMES} raw aiohttp", "picows": f"{TIMES} picows"}


def text(report: Report) -> str:
    """All of a report."""
    parts = [environment(report)]
    for loop in report.loops():
        parts.append(f"**{loop}**" + (", the default loop" if loop == "asyncio" else ""))
        parts += [part for result in report.on(loop) for part in (heading(result), table(result))]
    goals = goals_table(report)
    if goals:
        parts += ["**The goals**, with the default loop", goals]
    return "\n\n".join(parts) + "\n"


def environment(report: Report) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.packages().items())
    lines = [f"Measured with {versions}; {report.machine}."]
    lines += [f"{title}: {transport}." for title, transport in report.transports().items()]
    return "\n".join(lines)


def heading(result: Result) -> str:
    rounds = len(result.series[0].rounds) if result.series else 0
    count = result.series[0].rounds[0].messages if rounds else 0
    return (
        f"`{result.case}`: {result.of.title}; {rounds} rounds of {count} {result.of.unit}s"
        f" (others used {result.others:.0%} of the machine meanwhile)"
    )


def table(result: Result) -> str:
    """The table of one case."""
    if len(result.of.maps) > 1:
        return operators_table(result)
    bases = [name for name in BASES if result.find(name)]
    # Only where one message is under way at a time is there a latency to speak of.
    timed = bool(result.series) and bool(quantity(result.series[0].rounds, "p50"))
    head = ["peer", f"µs CPU per {result.of.unit}", SPREAD, *(BASES[name] for name in bases)]
    if timed:
        head += ["p50 µs", "p99 µs"]
    if result.of.kind == "cycles":
        head.append("per CPU second")
    return markdown(head, [row(result, series, bases, timed) for series in result.series])


def row(result: Result, series: Series, bases: Sequence[str], timed: bool) -> list[str]:
    cells = [series.title, middle(series), spread(quantity(series.rounds))]
    cells += [number(ratio(series, result.find(base))) for base in bases]
    if timed:
        cells += [f"{median(quantity(series.rounds, name)):.0f}" for name in ("p50", "p99")]
    if result.of.kind == "cycles":
        cells.append(f"{1e6 / median(quantity(series.rounds)):.0f}")
    return cells


def operators_table(result: Result) -> str:
    few, many = result.of.maps
    rows: list[list[str]] = []
    for series in result.series:
        long = result.find(series.peer, many)
        if series.maps != few or long is None:
            continue
        further = per_map(result, series.peer)
        costs = [middle(series), middle(long), number(median(further)), spread(further)]
        rows.append([series.title, *costs])
    head = ["peer", f"µs CPU with {few} map", f"with {many} maps", "each further map", SPREAD]
    return markdown(head, rows)


def goals_table(report: Report) -> str:
    """What was asked for and what was reached, nothing if neither is known."""
    rows = [
        [f"`{result.case}`", named(goal), asked(goal), said(goal, found), met(goal, found)]
        for result in report.on("asyncio")
        for goal in result.of.goals
        if (found := reached(result, goal)) is not None
    ]
    return markdown(["case", "goal", "asked", "measured", "met"], rows, texts=2) if rows else ""


def named(goal: Goal) -> str:
    return goal.text if goal.against is None else f"{goal.text} against {goal.against}"


def asked(goal: Goal) -> str:
    return f"{'≥' if goal.per_second else '≤'} {said(goal, goal.at_most)}"


def said(goal: Goal, value: float) -> str:
    if goal.quantity == "map":
        return f"{value:.2f} µs"
    return f"{1 / value if goal.per_second else value:.2f}"


def met(goal: Goal, value: float) -> str:
    return MET if value <= goal.at_most else NONE


def middle(series: Series) -> str:
    return number(median(quantity(series.rounds)))


def spread(values: Sequence[float]) -> str:
    return f"{number(min(values))}{DASH}{number(max(values))}"


def number(value: float | None) -> str:
    """Two decimals, and none where there are three digits before them."""
    if value is None:
        return NONE
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """A table; the first columns are texts, so many of them, and the others figures."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if number < texts else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    left, right = widths[:texts], widths[texts:]
    rule = ["-" * width for width in left] + ["-" * (width - 1) + ":" for width in right]
    return "\n".join([line(head), line(rule), *(line(one) for one in rows)])
