"""Hubs without redis-py."""

from __future__ import annotations

import subprocess
import sys

from support import TESTS


def test_a_missing_redis_is_named_with_its_remedy() -> None:
    """Without redis-py `RedisBackplane` raises an error with the command; other hubs work."""
    code = """
import sys
sys.modules["redis"] = None
import rxws, rxws.hub
rxws.Hub()
assert "RedisBackplane" in dir(rxws.hub)
try:
    rxws.hub.RedisBackplane
except ImportError as exc:
    print(exc)
"""
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=TESTS.parent, check=True, capture_output=True, text=True
    )
    assert run.stdout == "RedisBackplane needs redis-py: pip install 'rxws[redis]'\n"
