"""What of a run goes into the documentation: the tables of its page, and the charts."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness.cases import CASES, PEERS
from benchmarks.harness.results import Report
from benchmarks.report.chart import chart
from benchmarks.report.tables import text

BEGIN = "<!-- generated: make bench ARGS=--docs -->"
END = "<!-- end of what is generated -->"
LOOPS = ("asyncio", "uvloop")


def lacking(report: Report) -> list[str]:
    """What the page shows and this run has not measured."""
    found: list[str] = []
    for loop in LOOPS:
        results = {result.case: result for result in report.on(loop)}
        for case in CASES.values():
            if case.name not in results:
                found.append(f"{case.name} on {loop}")
                continue
            measured = {series.peer for series in results[case.name].series}
            wanted = {name for name, peer in PEERS.items() if case.takes(peer)}
            found += [f"{name} in {case.name} on {loop}" for name in sorted(wanted - measured)]
    return found


def write(report: Report, docs: Path) -> list[Path]:
    """Write all of it, and say what was written."""
    page = docs / "quality" / "benchmarks.md"
    page.write_text(between(page.read_text("utf-8"), text(report)), "utf-8")
    written = [page]
    for loop in report.loops():
        image = docs / "images" / f"benchmarks-{loop}.svg"
        image.write_text(chart(report.on(loop), loop), "utf-8")
        written.append(image)
    return written


def between(page: str, generated: str) -> str:
    """The page with this between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{begin}\n\n{generated}\n{end}{after}"
