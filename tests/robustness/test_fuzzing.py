"""The fuzzer's target, run briefly without a fuzzer."""

from __future__ import annotations

import pytest

from support.attack.fuzz_target import fuzz, seeds
from support.processes.server import SOAK


@pytest.mark.soak
def test_corpus_and_mutations_end_as_documented() -> None:
    """The corpus and mutations of it end as documented on a fake TCP, also byte by byte.

    `make soak` plays a hundred thousand mutations.
    """
    runs = 100_000 if SOAK else 500
    assert fuzz(runs, seconds=600.0, seed=5) == len(seeds()) + runs
