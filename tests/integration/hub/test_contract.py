"""`RedisBackplane` does what every backplane must, on Redis and on Valkey."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rxws.hub import Backplane, RedisBackplane
from support.backplane_contract import BackplaneContract
from support.processes.redis_server import StartRedis


@pytest.mark.parametrize("start_redis", ["redis", "valkey"], indirect=True)
class TestRedisContract(BackplaneContract):
    @pytest.fixture
    def connect(self, start_redis: StartRedis, tmp_path: Path) -> Callable[[], Backplane]:
        url = start_redis().url
        return lambda: RedisBackplane(url)
