"""The fuzzer's target, run for a moment as a plain loop."""

from __future__ import annotations

import pytest

from support.attack.fuzz_target import fuzz, seeds
from support.processes.server import SOAK


@pytest.mark.soak
def test_the_fuzzer_finds_nothing() -> None:
    """The corpus and mutations of it end as documented, on a TCP that is played, byte by byte too.

    `make soak` takes a hundred thousand.
    """
    runs = 100_000 if SOAK else 500
    assert fuzz(runs, seconds=600.0, seed=5) == len(seeds()) + runs
