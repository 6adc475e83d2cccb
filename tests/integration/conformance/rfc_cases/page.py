"""The tables of `docs/reference/conformance.md`.

This writes them: `cd tests && python -m integration.conformance.rfc_cases.page`.
"""

from __future__ import annotations

from integration.conformance.rfc_cases.framing import FRAMES
from integration.conformance.rfc_cases.handshake_at_client import ANSWERS
from integration.conformance.rfc_cases.handshake_at_server import REQUESTS
from support import ROOT

PAGE = ROOT / "docs" / "reference" / "conformance.md"
MARK = "<!-- {name}: {edge}; written by tests/integration/conformance/rfc_cases/page.py -->"


def tables() -> dict[str, str]:
    """Return the tables by their names on the page."""
    return {
        "frames": table(
            ("received data", "result"),
            [
                (
                    case.section,
                    case.what,
                    case.verdict if case.code is None else f"{case.verdict}, {case.code}",
                )
                for case in FRAMES
            ],
        ),
        "requests": table(
            ("request", "result"),
            [
                (
                    case.section,
                    case.what,
                    case.verdict if case.status == 101 else f"{case.verdict}, {case.status}",
                )
                for case in REQUESTS
            ],
        ),
        "answers": table(
            ("response", "result"),
            [(case.section, case.what, case.verdict) for case in ANSWERS],
        ),
    }


def table(titles: tuple[str, str], rows: list[tuple[str, str, str]]) -> str:
    """Format one table; each section names its RFC."""
    lines = [f"| RFC | {titles[0]} | {titles[1]} |", "|---|---|---|"]
    for section, what, verdict in rows:
        rfc = section if section.startswith("7692") else f"6455 {section}"
        lines.append(f"| {rfc} | {what} | {verdict} |")
    return "\n".join(lines)


def fill_tables(text: str) -> str:
    """Return the page with current tables.

    Raises:
        ValueError: The page has no place for a table.
    """
    for name, rows in tables().items():
        begin, end = (MARK.format(name=name, edge=edge) for edge in ("begin", "end"))
        before, found, rest = text.partition(begin)
        _, ends, after = rest.partition(end)
        if not found or not ends:
            raise ValueError(f"{PAGE.name} has no place for the table {name!r}")
        text = f"{before}{begin}\n\n{rows}\n\n{end}{after}"
    return text


if __name__ == "__main__":
    PAGE.write_text(fill_tables(PAGE.read_text("utf-8")), "utf-8")
