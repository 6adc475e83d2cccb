"""Hubs that serve, and independent peers of their protocol."""

from __future__ import annotations

import importlib
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

import rxws
from rxws.hub import Hub, Keep
from support.peers.hub_peer import ServeHub, Serving
from support.peers.node_peer import NodeUnavailable, install

TOPICS = {"kept:*": Keep(100), "last:*": Keep.latest()}


@pytest.fixture
def serve_hub() -> ServeHub:
    """Return a function that serves a hub; by default the token is the user's name."""

    @asynccontextmanager
    async def serving(
        codec: Any = rxws.codecs.json,
        topics: Mapping[str, Keep] = TOPICS,
        backplane: Any = None,
        **options: Any,
    ) -> AsyncIterator[Serving]:
        options.setdefault("user", lambda _, token: token or None)
        options.setdefault("allow", lambda *_: True)
        hub: Any = Hub(codec=codec, topics=topics, backplane=backplane)
        async with hub, rxws.serve(hub.serve(**options)) as server:
            yield Serving(hub, server.url)

    return serving


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
