"""What a test does without a program or package that it needs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["skip_peer"]


def skip_peer(reason: str) -> NoReturn:
    """Skip a test, or fail if the environment says that no peer may be missing."""
    if os.environ.get("RXWS_REQUIRE_PEERS") == "1":
        pytest.fail(f"{reason}, but RXWS_REQUIRE_PEERS=1 requires it")
    pytest.skip(f"{reason}; RXWS_REQUIRE_PEERS=1 makes this a failure")
