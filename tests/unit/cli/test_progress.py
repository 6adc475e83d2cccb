"""The progress that long commands show."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from rxws.cli._progress import Figures, Rate, row


def test_the_rate_is_that_of_the_last_seconds() -> None:
    """Only the last seconds count; a lower count begins anew."""
    rate = Rate()
    assert [rate(now, 10 * now) for now in range(4)] == [0, 10, 10, 10]
    assert rate(4, 70) == 20
    assert [rate(now, 70) for now in range(5, 9)] == pytest.approx([50 / 3, 40 / 3, 0, 0])
    assert rate(9, 0) == 0
    assert rate(10, 5) == 5


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        (Figures(3, 2000), "3 messages  12/s  2.0 kB  1:05"),
        (
            Figures(1500, 0, total=3000),
            f"{'━' * 10}{' ' * 12}1,500 of 3,000 messages  12/s  0 bytes  1:05",
        ),
        (Figures(2, share=1.0, phase="sending"), f"sending  {'━' * 20}  2 messages  12/s  1:05"),
        (Figures(2, total=4, things="connections"), "2 of 4 connections  12/s  1:05"),
    ],
)
def test_a_row_has_what_is_known(figures: Figures, shown: str) -> None:
    """A bar needs a total or a share; the bytes and the phase may be unknown."""
    file = StringIO()
    Console(file=file, width=100).print(row(figures, 12.3, 65))
    assert file.getvalue().strip().endswith(shown)
