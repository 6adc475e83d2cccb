"""The policies for a peer that is too far behind."""

from __future__ import annotations

import pytest

from rxws.overflow import OVERHEAD, check


def test_close_is_a_policy() -> None:
    """And it is accepted in silence."""
    check("close")


def test_another_word_is_refused_with_those_there_are() -> None:
    """The error names both."""
    with pytest.raises(ValueError, match=r"'explode' is unknown: use one of \('close'"):
        check("explode")


def test_a_message_counts_128_bytes_more_than_its_payload() -> None:
    """So that a million empty messages are no empty buffer."""
    assert OVERHEAD == 128
