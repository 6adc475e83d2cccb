"""The fixture `link`: each test that asks for it runs once with the library at each end."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from conftest import Serve
from ends import Links, opened


@pytest.fixture(params=["server", "client"])
async def link(request: pytest.FixtureRequest, serve: Serve) -> AsyncIterator[Links]:
    """Open a connection with a raw peer: `one = await link(max_buffer=…)`."""
    async with opened(request.param, serve) as links:
        yield links
