"""The page of promises lists what the tests prove."""

from __future__ import annotations

from scripts.promises import PAGE, PROMISES, page, proofs


def test_every_promise_has_a_proof() -> None:
    """Each promise has a test, and each proof belongs to a promise."""
    promised = {key for promises in PROMISES.values() for key in promises}
    assert {proof.promise for proof in proofs()} == promised


def test_every_proof_has_a_sentence() -> None:
    """The docstring of each proof starts with a sentence."""
    assert all(proof.says.endswith(".") for proof in proofs())


def test_the_page_is_current() -> None:
    """The page matches what `python scripts/promises.py` writes."""
    written = PAGE.read_text(encoding="utf-8")
    assert written == page(), "docs/quality/promises.md is stale: run `python scripts/promises.py`"
