"""Random and mutated sessions, at both ends and on both read paths, end as documented.

`make soak` runs the numbers that the documentation names.
"""

from __future__ import annotations

import pytest

from support.attack.attackers import attack, attacked_process, send_mutants
from support.processes.server import HAS_PROC, SOAK

pytestmark = [
    pytest.mark.soak,
    pytest.mark.skipif(not HAS_PROC, reason="memory is read from /proc"),
]

# (end, path): number of sessions; a hundred thousand in all under soak.
COUNTS = {
    ("server", "push"): 40_000 if SOAK else 400,
    ("client", "push"): 40_000 if SOAK else 400,
    ("server", "pull"): 10_000 if SOAK else 150,
    ("client", "pull"): 10_000 if SOAK else 150,
}


@pytest.mark.promise("fire")
@pytest.mark.parametrize(("end", "path"), COUNTS)
async def test_mutated_sessions_end_as_documented(end: str, path: str) -> None:
    """Whatever bytes a peer sends, the connection ends as the docs on close codes say.

    Messages before the first wrong byte are delivered. Each connection ends once and sends whole
    frames only. Nothing is logged, RSS grows by less than 32 MiB, and no callback of the loop takes
    150 ms.
    """
    count = COUNTS[end, path]
    async with attacked_process(end, path) as target:
        await send_mutants(target, range(50))  # warm up: the first sessions fill caches
        async with attack(target) as cost:
            await send_mutants(target, range(50, 50 + count))
        ends = cost.said["ends"]
        assert sum(ends.values()) > count * 0.8, cost.said
        for each in ("local 1002", "local 1007", "local 1009", "network 1006"):
            assert ends[each] > 0, ends
