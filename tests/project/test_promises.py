"""The page of promises says what the tests prove."""

from __future__ import annotations

from scripts.promises import PAGE, PROMISES, page, proofs


def test_every_promise_has_a_proof() -> None:
    """No promise stands without a test, and no test proves what is not promised."""
    promised = {key for promises in PROMISES.values() for key in promises}
    assert {proof.promise for proof in proofs()} == promised


def test_every_proof_says_what_is_true() -> None:
    """Each has its sentence."""
    assert all(proof.says.endswith(".") for proof in proofs())


def test_the_page_is_fresh() -> None:
    """It is made anew by `python scripts/promises.py`."""
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(), "docs/quality/promises.md is stale: run `python scripts/promises.py`"
