"""The check of the overflow policies."""

from __future__ import annotations

import pytest

from rxws.overflow import OVERHEAD, check


def test_close_is_a_policy() -> None:
    """ "close" is a policy."""
    check("close")


def test_an_unknown_policy_is_refused() -> None:
    """An unknown policy raises a ValueError that lists the policies."""
    with pytest.raises(ValueError, match=r"'explode' is unknown: use one of \('close'"):
        check("explode")


def test_a_message_counts_128_bytes_more_than_its_payload() -> None:
    """A message counts 128 bytes more than its payload, so that empty ones are bounded."""
    assert OVERHEAD == 128
