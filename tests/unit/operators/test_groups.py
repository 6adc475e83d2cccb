"""Operators of rxws behind `group_by` and `rx.merge`, in chains that begin with a plain Subject."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import reactivex as rx
from reactivex import GroupedObservable, Observable
from reactivex import operators as ops

import rxws
from rxws.operators import map_async, on_loop, rate_limit

PATIENCE = 30.0  # seconds to wait before the test fails

Operator = Callable[[Observable[Any]], Observable[Any]]


def twice(group: GroupedObservable[str, str]) -> Observable[str]:
    """Emit each value of a group at once, and again when the group has been quiet."""
    return rx.merge(group, group.pipe(ops.debounce(0.01), ops.map(str.upper)))


async def unchanged(value: str) -> str:
    return value


async def collected(chain: Observable[Any]) -> list[Any]:
    """Subscribe without a scheduler, and return the values when the chain completes."""
    done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
    chain.pipe(ops.to_list()).subscribe(done.set_result, done.set_exception)
    return await asyncio.wait_for(done, PATIENCE)


async def iterated(chain: Observable[Any]) -> list[Any]:
    """Loop over a chain, and return its values."""
    async with asyncio.timeout(PATIENCE):
        return [value async for value in rxws.iterate(chain)]


@pytest.mark.parametrize(
    ("operator", "read"),
    [
        (map_async(unchanged), collected),
        (rate_limit(100, per=1.0), collected),
        (on_loop(), collected),
        (ops.map(str), iterated),
    ],
    ids=["map_async", "rate_limit", "on_loop", "iterate"],
)
async def test_the_first_value_of_a_group_reaches_a_merge(
    operator: Operator, read: Callable[[Observable[Any]], Any]
) -> None:
    """A merge within a flat_map subscribes to a group at once, so it gets its first value."""
    source: rx.Subject[str] = rx.Subject()
    chain = source.pipe(
        ops.group_by(lambda value: value), ops.flat_map(twice), ops.take(2), operator
    )
    reading = asyncio.ensure_future(read(chain))
    await asyncio.sleep(0)
    source.on_next("a")
    assert await reading == ["a", "A"]
