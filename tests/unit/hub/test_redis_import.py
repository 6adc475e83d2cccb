"""Hubs without redis-py."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import rxws
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


@pytest.mark.parametrize(
    ("missing", "error"),
    [
        ("redis", "needs redis-py"),
        ("redis.exceptions", "needs redis-py"),
        ("rxws.hub._redis.backplane", "import of rxws.hub._redis.backplane halted"),
    ],
)
def test_only_a_missing_redis_gets_the_remedy(
    missing: str, error: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another module that is missing is a fault of the installation, and keeps its name."""
    for name in list(sys.modules):
        if name.startswith("rxws.hub._redis"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=error):
        importlib.import_module("rxws.hub._redis")


def test_public_names_are_listed_and_others_are_missing() -> None:
    """`dir` shows what users import; any other name raises `AttributeError`."""
    assert dir(rxws.hub) == sorted(rxws.hub.__all__)
    assert rxws.hub.RedisBackplane.__name__ == "RedisBackplane"
    with pytest.raises(AttributeError, match="has no attribute 'RedisBackplan'"):
        rxws.hub.RedisBackplan  # type: ignore[attr-defined] # noqa: B018
