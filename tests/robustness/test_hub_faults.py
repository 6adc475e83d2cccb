"""Two processes of a hub and one Redis, while a seeded random choice of faults goes on.

`RXWS_SOAK=1` runs it for 10 minutes. `RXWS_HUB_FAULT_SECONDS` and `RXWS_HUB_FAULT_SEED` choose the
time and the sequence of faults, which `pytest -s` shows as it goes on.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from support import TESTS
from support.faults.hub_checker import check
from support.faults.hub_process import NAMES
from support.faults.network import FaultyNetwork
from support.processes.redis_server import RedisServer, StartRedis, redis_servers, replicate

SOAK = os.environ.get("RXWS_SOAK") == "1"
SECONDS = float(os.environ.get("RXWS_HUB_FAULT_SECONDS", "600" if SOAK else "60"))
SEED = int(os.environ.get("RXWS_HUB_FAULT_SEED", "17"))
PATIENCE = 60.0  # seconds; how long the processes may take to start, and to see the last messages
FLAGS = ("--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0")


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[StartRedis]:
    with redis_servers(tmp_path) as start:
        yield start


class FaultRun:
    """The processes, their networks and the present master."""

    def __init__(self, start: StartRedis, directory: Path, stack: AsyncExitStack) -> None:
        self._start = start
        self._directory = directory
        self._stack = stack
        self._random = random.Random(SEED)
        self.logs = [directory / f"{name}.log" for name in NAMES]
        self.faults: Counter[str] = Counter()
        self._networks: list[FaultyNetwork] = []
        self._processes: list[asyncio.subprocess.Process] = []
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()

    async def begin(self) -> None:
        self._redis: RedisServer = self._start(*FLAGS)
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])}
        for name, log in zip(NAMES, self.logs, strict=True):
            network = await self._stack.enter_async_context(FaultyNetwork(self._redis.port))
            self._networks.append(network)
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "support.faults.hub_process"),
                *(f"redis://127.0.0.1:{network.port}/0", name, str(log)),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
            )
            self._processes.append(process)
            self._stack.push_async_callback(self._end, process)
            assert process.stdout is not None
            async with asyncio.timeout(PATIENCE):
                assert await process.stdout.readline() == b"subscribed\n"
        for process in self._processes:
            process.send_signal(signal.SIGUSR1)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()

    async def break_something(self) -> None:
        faults = [
            self._client_kill,
            self._output_buffer_kill,
            self._pause_redis,
            self._pause_process,
            self._black_hole,
            self._reset,
            self._restart,
            self._fail_over,
        ]
        fault = self._random.choice(faults)
        self._report(fault.__name__.strip("_"))
        await fault()
        await self._for_a_while(0.5, 2.0)

    async def finish(self) -> None:
        for process in self._processes:
            process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(PATIENCE):
                codes = [await process.wait() for process in self._processes]
        except TimeoutError:
            ends = [f"{log.stem}: {_end_of(log)}" for log in self.logs]
            pytest.fail(f"a process is still waiting after {PATIENCE:g} s\n" + "\n".join(ends))
        assert codes == [0, 0]

    def _report(self, fault: str) -> None:
        self.faults[fault] += 1
        print(f"{self._loop.time() - self._began:6.1f} s  {fault}", flush=True)

    async def _for_a_while(self, least: float, most: float) -> None:
        await asyncio.sleep(self._random.uniform(least, most))

    async def _client_kill(self) -> None:
        for kind in self._random.choice((("normal",), ("pubsub",), ("normal", "pubsub"))):
            self._redis.command("CLIENT", "KILL", "TYPE", kind)

    async def _output_buffer_kill(self) -> None:
        self._redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
        # Receivers ignore a message of an unknown kind.
        self._redis.command("PUBLISH", "rxws:0:topic:t0", b"?" * (4 << 20))

    async def _pause_redis(self) -> None:
        self._redis.pause()
        await self._for_a_while(0.1, 3.0)
        self._redis.resume()

    async def _pause_process(self) -> None:
        process = self._random.choice(self._processes)
        process.send_signal(signal.SIGSTOP)
        await self._for_a_while(0.1, 5.0)
        process.send_signal(signal.SIGCONT)

    async def _black_hole(self) -> None:
        networks = self._random.choice((self._networks, self._networks[:1], self._networks[1:]))
        for network in networks:
            network.black_hole()
        await self._for_a_while(0.1, 4.0)
        for network in networks:
            network.heal(forget=self._random.random() < 0.5)

    async def _reset(self) -> None:
        self._random.choice(self._networks).reset()

    async def _restart(self) -> None:
        self._redis.kill()
        data = self._random.choice(("kept", "truncated", "lost"))
        self._report(f"restart: {data}")
        if data == "lost":
            self._redis.lose_data()
        elif data == "truncated":
            self._redis.truncate_data(self._random.randrange(1, 50_000))
        await self._for_a_while(0.0, 2.0)
        await asyncio.to_thread(self._redis.start)

    async def _fail_over(self) -> None:
        async with FaultyNetwork(self._redis.port) as replication:
            replica = await asyncio.to_thread(replicate, self._start, replication.port, *FLAGS)
            replication.black_hole()  # the replica lags from now on
            await self._for_a_while(0.0, 1.0)
            replica.promote()
            for network in self._networks:
                network.target = replica.port
                network.reset()
        self._redis.kill()
        self._redis = replica


def _end_of(log: Path) -> list[str]:
    """Return the last events, and the last changes of the status."""
    lines = log.read_text().splitlines()
    return [line for line in lines if line.startswith('["status"')][-3:] + lines[-3:]


@pytest.mark.soak
@pytest.mark.promise("hub-order")
@pytest.mark.promise("hub-gaps")
async def test_faults(start_redis: StartRedis, tmp_path: Path) -> None:
    """All see one order without repetitions; each confirmed message is seen, or lies in a gap."""
    async with AsyncExitStack() as stack:
        print(f"faults, seed {SEED}, {SECONDS:g} s")
        run = FaultRun(start_redis, tmp_path, stack)
        await run.begin()
        loop = asyncio.get_running_loop()
        end = loop.time() + SECONDS
        while loop.time() < end:
            await run.break_something()
        await run.finish()
    counts = check(run.logs)
    print(f"faults, seed {SEED}: {dict(run.faults)}; {dict(counts)}")
    assert counts["message"] > 100 * len(NAMES)
