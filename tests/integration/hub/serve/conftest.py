"""Independent peers of the hubs' protocol."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any, NoReturn

import pytest

from support.peers.node_peer import NodeUnavailable, install


def skip(reason: str) -> NoReturn:
    """Skip a test, or fail if the environment says that no peer may be missing."""
    if os.environ.get("RXWS_REQUIRE_PEERS") == "1":
        pytest.fail(f"{reason}, but RXWS_REQUIRE_PEERS=1 requires it")
    pytest.skip(f"{reason}; RXWS_REQUIRE_PEERS=1 makes this a failure")


@pytest.fixture(scope="session")
def node_scripts(pytestconfig: pytest.Config) -> Path:
    """Return the folder of the scripts of centrifuge-js, with their packages."""
    try:
        return install(pytestconfig.cache.mkdir("node"))
    except NodeUnavailable as exc:
        skip(str(exc))


@pytest.fixture
def centrifuge() -> Any:
    """Return the module of centrifuge-python."""
    try:
        return importlib.import_module("centrifuge")
    except ImportError as exc:
        skip(f"no centrifuge-python: {exc}")
