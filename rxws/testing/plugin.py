"""The pytest plugin: fixtures that report what a test leaves open, and readable diffs."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, cast

import pytest

from .diff import difference
from .pair import Pair, pair
from .server import TestServer, serve
from .simulation import Simulation, simulate
from .timeline import Timeline

__all__ = ["pytest_assertrepr_compare", "rxws_pair", "rxws_server", "rxws_simulate"]


def simulating() -> Generator[Callable[..., Simulation[Any, Any]]]:
    """Provide `rxws.testing.simulate`; fail if a handler leaves something open at the end."""
    simulations: list[Simulation[Any, Any]] = []

    def run(*args: Any, **kwargs: Any) -> Simulation[Any, Any]:
        simulations.append(simulate(*args, **kwargs))
        return simulations[-1]

    yield run
    leaks = [each for each in simulations if each.closed is not None and each.open_subscriptions]
    if leaks:
        pytest.fail(
            f"the handler left {leaks[0].open_subscriptions} subscriptions or timers open after "
            f"the end of {leaks[0]!r}: return your subscriptions from the handler, or dispose them",
            pytrace=False,
        )


def pairing() -> Generator[Callable[..., Pair[Any, Any, Any, Any]]]:
    """Provide `rxws.testing.pair`; fail if a pair is left open."""
    pairs: list[Pair[Any, Any, Any, Any]] = []

    def make(*args: Any, **kwargs: Any) -> Pair[Any, Any, Any, Any]:
        pairs.append(cast(Any, pair)(*args, **kwargs))
        return pairs[-1]

    yield make
    if not all(each.closed for each in pairs):
        pytest.fail(
            "a pair is still open: use `async with rxws_pair(...) as (server, client):`",
            pytrace=False,
        )


def serving() -> Generator[Callable[..., TestServer]]:
    """Provide `rxws.testing.serve`; fail if a server is left running."""
    servers: list[TestServer] = []

    def start(*args: Any, **kwargs: Any) -> TestServer:
        servers.append(serve(*args, **kwargs))
        return servers[-1]

    yield start
    running = [each for each in servers if each.is_serving()]
    if running:
        pytest.fail(
            f"{running[0]!r} is still running: use `async with rxws_server(...) as server:`",
            pytrace=False,
        )


# Not used as decorators, so that tests can call the functions.
rxws_simulate = pytest.fixture(name="rxws_simulate")(simulating)
rxws_pair = pytest.fixture(name="rxws_pair")(pairing)
rxws_server = pytest.fixture(name="rxws_server")(serving)


def pytest_assertrepr_compare(op: str, left: Any, right: Any) -> list[str] | None:
    """Show two timelines as marble diagrams, one above the other."""
    if op != "==" or not isinstance(left, Timeline) or not isinstance(cast(object, right), list):
        return None
    try:
        other = Timeline.of(cast("list[Any]", right), left.step)
    except TypeError as exc:
        return ["a timeline can only be compared with a list of notifications", str(exc)]
    seen, expected = (other, left) if left.is_expected else (left, other)
    return ["the timelines differ", *difference(seen, expected)]
