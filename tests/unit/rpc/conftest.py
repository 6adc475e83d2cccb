"""Fixtures of the tests of `rxws.rpc`."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from support.virtual.rpc import end_all


@pytest.fixture(autouse=True)
async def _ended() -> AsyncIterator[None]:
    yield
    await end_all()
