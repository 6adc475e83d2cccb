"""The independent peers of the tests of `rxws.rpc`."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from support.peers.node_peer import NodeUnavailable, install
from support.requirements import skip_peer


@pytest.fixture(scope="session")
def node_scripts(pytestconfig: pytest.Config) -> Path:
    """Return the folder of the scripts of vscode-jsonrpc, with their packages."""
    try:
        return install(pytestconfig.cache.mkdir("node"))
    except NodeUnavailable as exc:
        skip_peer(str(exc))


@pytest.fixture
def jsonrpc_websocket() -> Any:
    """Return the module of the same name, a JSON-RPC client."""
    try:
        return importlib.import_module("jsonrpc_websocket")
    except ImportError as exc:
        skip_peer(f"no jsonrpc-websocket: {exc}")
