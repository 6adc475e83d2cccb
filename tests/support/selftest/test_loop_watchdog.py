"""What holds the loop in asyncio's debug mode is found, by its CPU time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from support.loop_watchdog import slow_callbacks


def spin() -> None:
    """Use the CPU for longer than asyncio's debug mode likes."""
    end = time.thread_time() + 0.15
    while time.thread_time() < end:
        pass


def found_slow(*callbacks: Callable[[], object], debug: bool) -> list[str]:
    """What is found slow when a loop of its own runs these, one after the other."""

    async def main() -> list[str]:
        loop = asyncio.get_running_loop()
        with slow_callbacks(loop) as slow:
            for callback in callbacks:
                loop.call_soon(callback)
                await asyncio.sleep(0)
        return slow

    return asyncio.run(main(), debug=debug)


def test_a_callback_that_computes_for_long_is_found() -> None:
    """In debug mode each one is, by its name, and a short one is not."""
    (found,) = found_slow(int, spin, int, debug=True)
    assert "spin" in found


def test_a_callback_that_sleeps_is_not() -> None:
    """Nor one that waits for a core: it is what a callback does itself that counts."""
    assert found_slow(lambda: time.sleep(0.15), debug=True) == []


def test_a_step_of_a_test_is_not() -> None:
    """A coroutine in tests/ makes and checks its data there."""

    async def test() -> None:
        spin()

    async def main() -> list[str]:
        with slow_callbacks(asyncio.get_running_loop()) as slow:
            await asyncio.create_task(test())
        return slow

    assert asyncio.run(main(), debug=True) == []


def test_without_debug_mode_nobody_looks() -> None:
    """asyncio's way of running callbacks is not touched."""
    assert found_slow(spin, debug=False) == []
