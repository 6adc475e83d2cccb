"""The pytest plugin: fixtures that see to it that nothing stays open, and failures to be read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, cast

import pytest

from .diff import difference
from .pair import Pair, pair
from .scenario import Simulation
from .server import TestServer, serve
from .simulation import simulate
from .timeline import Timeline

__all__ = ["pytest_assertrepr_compare", "rxws_pair", "rxws_server", "rxws_simulate"]


def simulating() -> Generator[Callable[..., Simulation[Any, Any]]]:
    """`rxws.testing.simulate`; fails a test whose handler leaves something open behind the end."""
    simulations: list[Simulation[Any, Any]] = []

    def run(*args: Any, **kwargs: Any) -> Simulation[Any, Any]:
        simulations.append(simulate(*args, **kwargs))
        return simulations[-1]

    yield run
    left = [each for each in simulations if each.closed is not None and each.open_subscriptions]
    if left:
        pytest.fail(
            f"{left[0].open_subscriptions} subscriptions or timers of the handler are left after "
            f"the end of {left[0]!r}: return what you subscribe, or dispose it",
            pytrace=False,
        )


def pairing() -> Generator[Callable[..., Pair[Any, Any, Any, Any]]]:
    """`rxws.testing.pair`; fails a test that leaves one open."""
    pairs: list[Any] = []

    def make(*args: Any, **kwargs: Any) -> Pair[Any, Any, Any, Any]:
        made: Any = cast(Any, pair)(*args, **kwargs)
        pairs.append(made)
        return cast("Pair[Any, Any, Any, Any]", made)

    yield make
    if not all(each.closed for each in pairs):
        pytest.fail(
            "a pair is still open: use `async with rxws_pair(...) as (server, client):`",
            pytrace=False,
        )


def serving() -> Generator[Callable[..., AbstractAsyncContextManager[TestServer]]]:
    """`rxws.testing.serve`; fails a test that leaves one running."""
    running: list[TestServer] = []

    @asynccontextmanager
    async def start(*args: Any, **kwargs: Any) -> AsyncGenerator[TestServer]:
        async with serve(*args, **kwargs) as server:
            running.append(server)
            yield server
        running.remove(server)

    yield start
    if running:
        pytest.fail(
            f"{running[0]!r} still runs: use `async with rxws_server(...) as server:`",
            pytrace=False,
        )


# Not as decorators: so the functions can be tested as functions.
rxws_simulate = pytest.fixture(name="rxws_simulate")(simulating)
rxws_pair = pytest.fixture(name="rxws_pair")(pairing)
rxws_server = pytest.fixture(name="rxws_server")(serving)


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Show two timelines as marbles, one above the other."""
    if op != "==" or not isinstance(left, Timeline) or not isinstance(cast(object, right), list):
        return None
    try:
        other = Timeline.of(cast("list[Any]", right), left.step)
    except TypeError as exc:
        return ["a timeline is compared with a list", str(exc)]
    seen, expected = (other, left) if left.is_expected else (left, other)
    return ["the timeline is not as expected", *difference(seen, expected)]
