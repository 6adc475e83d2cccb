"""Format the results of a run as Markdown tables that are readable in a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.harness.cases import Goal
from benchmarks.harness.results import (
    Report,
    Result,
    achieved,
    cost_per_map,
    median_ratio,
    values_of,
)
from benchmarks.harness.rounds import Series

NO_VALUE = DASH = "\N{EN DASH}"
MET = "\N{CHECK MARK}"
TIMES = "\N{MULTIPLICATION SIGN}"
SPREAD = f"min{DASH}max"
BASES = {
    "aiohttp": f"{TIMES} raw aiohttp",
    "picows": f"{TIMES} picows",
    "broadcast": f"{TIMES} broadcast",
    "aiohttp-loop": f"{TIMES} aiohttp loop",
}


def report_text(report: Report) -> str:
    """Format a whole report."""
    parts = [environment(report)]
    for loop in report.loops():
        parts.append(f"**{loop}**" + (", the default event loop" if loop == "asyncio" else ""))
        for result in report.on_loop(loop):
            parts += [heading(result), table(result)]
    goals = goals_table(report)
    if goals:
        parts += ["**The goals**, on the default event loop", goals]
    return "\n\n".join(parts) + "\n"


def environment(report: Report) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.packages().items())
    lines = [f"Measured with {versions}; {report.machine}."]
    lines += [f"{title}: {transport}." for title, transport in report.transports().items()]
    return "\n".join(lines)


def heading(result: Result) -> str:
    rounds = len(result.series[0].rounds) if result.series else 0
    count = result.series[0].rounds[0].messages if rounds else 0
    case = result.definition
    return (
        f"`{result.case}`: {case.title}; {rounds} rounds of {count} {case.units}"
        f" (other processes used {result.other_load:.0%} of the CPUs)"
    )


def table(result: Result) -> str:
    """Format the table of one case."""
    if len(result.definition.maps) > 1:
        return operators_table(result)
    bases = [name for name in BASES if result.find(name)]
    # Latencies are measured with one message in flight only.
    timed = bool(result.series) and bool(values_of(result.series[0].rounds, "p50"))
    head = ["peer", f"µs CPU per {result.definition.unit}", SPREAD]
    head += [BASES[name] for name in bases]
    if timed:
        head += ["p50 µs", "p99 µs"]
    if result.definition.kind == "cycles":
        head.append("per CPU second")
    return markdown_table(head, [row(result, series, bases, timed) for series in result.series])


def row(result: Result, series: Series, bases: Sequence[str], timed: bool) -> list[str]:
    cells = [series.title, median_cost(series), spread(values_of(series.rounds))]
    cells += [format_number(median_ratio(series, result.find(base))) for base in bases]
    if timed:
        cells += [f"{median(values_of(series.rounds, name)):.0f}" for name in ("p50", "p99")]
    if result.definition.kind == "cycles":
        cells.append(f"{1e6 / median(values_of(series.rounds)):.0f}")
    return cells


def operators_table(result: Result) -> str:
    few, many = result.definition.maps
    rows: list[list[str]] = []
    for series in result.series:
        long = result.find(series.peer, many)
        if series.maps != few or long is None:
            continue
        additional = cost_per_map(result, series.peer)
        cells = [series.title, median_cost(series), median_cost(long)]
        rows.append([*cells, format_number(median(additional)), spread(additional)])
    head = ["peer", f"µs CPU with {few} map", f"with {many} maps", "each additional map", SPREAD]
    return markdown_table(head, rows)


def goals_table(report: Report) -> str:
    """Format the goals and the achieved values; return "" if no goal was measured."""
    rows = [
        [
            f"`{result.case}`",
            goal_name(goal),
            goal_target(goal),
            goal_value(goal, value),
            goal_mark(goal, value),
        ]
        for result in report.on_loop("asyncio")
        for goal in result.definition.goals
        if (value := achieved(result, goal)) is not None
    ]
    head = ["case", "goal", "target", "measured", "met"]
    return markdown_table(head, rows, texts=2) if rows else ""


def goal_name(goal: Goal) -> str:
    return goal.text if goal.against is None else f"{goal.text} compared with {goal.against}"


def goal_target(goal: Goal) -> str:
    return f"{'≥' if goal.per_second else '≤'} {goal_value(goal, goal.at_most)}"


def goal_value(goal: Goal, value: float) -> str:
    if goal.quantity == "map":
        return f"{value:.2f} µs"
    return f"{1 / value if goal.per_second else value:.2f}"


def goal_mark(goal: Goal, value: float) -> str:
    return MET if value <= goal.at_most else NO_VALUE


def median_cost(series: Series) -> str:
    return format_number(median(values_of(series.rounds)))


def spread(values: Sequence[float]) -> str:
    return f"{format_number(min(values))}{DASH}{format_number(max(values))}"


def format_number(value: float | None) -> str:
    """Format with two decimals, or with none from 100 on."""
    if value is None:
        return NO_VALUE
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> str:
    """Return a table in which the first `texts` columns contain text and the others numbers."""
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
