"""Write the results of a run into the documentation: tables and charts."""

from __future__ import annotations

from pathlib import Path

from benchmarks.harness.cases import CASES, PEERS
from benchmarks.harness.results import Report
from benchmarks.report.chart import chart
from benchmarks.report.tables import report_text

BEGIN = "<!-- generated: make bench ARGS=--docs -->"
END = "<!-- end of the generated section -->"
LOOPS = ("asyncio", "uvloop")


def missing_results(report: Report) -> list[str]:
    """Return what the page shows but this run did not measure."""
    missing: list[str] = []
    for loop in LOOPS:
        results = {result.case: result for result in report.on_loop(loop)}
        for case in CASES.values():
            if case.name not in results:
                missing.append(f"{case.name} on {loop}")
                continue
            measured = {series.peer for series in results[case.name].series}
            wanted = {name for name, peer in PEERS.items() if case.supports(peer)}
            missing += [f"{name} in {case.name} on {loop}" for name in sorted(wanted - measured)]
    return missing


def write(report: Report, docs: Path) -> list[Path]:
    """Write the page and the charts, and return their paths."""
    page = docs / "quality" / "benchmarks.md"
    page.write_text(replace_generated(page.read_text("utf-8"), report_text(report)), "utf-8")
    written = [page]
    for loop in report.loops():
        image = docs / "images" / f"benchmarks-{loop}.svg"
        image.write_text(chart(report.on_loop(loop), loop), "utf-8")
        written.append(image)
    return written


def replace_generated(page: str, generated: str) -> str:
    """Return the page with new text between its markers."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page lacks the markers {BEGIN} and {END}")
    return f"{before}{begin}\n\n{generated}\n{end}{after}"
