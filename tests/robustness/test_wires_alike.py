"""A program notifies the same on the fake transport, on a pair and on sockets."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import asdict

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rxws
from support.model.programs import (
    Boom,
    Driver,
    DriverServer,
    FakeDriver,
    PairDriver,
    Program,
    SocketDriver,
    Step,
)
from support.peers.fake_tcp import force_read_path
from support.processes.server import SOAK

# A number stands for that many bytes.
MESSAGES = st.sampled_from(["", "a", "grün", b"", b"\x00\xff", 3000, 70_000])
STEPS = st.one_of(
    st.tuples(st.just("hear"), MESSAGES),
    st.tuples(st.just("hear fault"), st.sampled_from(["undecodable", "raise"])),
    st.tuples(st.just("send"), MESSAGES),
    st.just(("send fault",)),
    st.just(("hold",)),
    st.just(("let go",)),
    st.just(("leave",)),
    st.just(("take",)),
)
CODES = [1000, 1001, 1002, 1011, 3000, 4001, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000]
ENDS = st.one_of(
    st.just(("peer closes", None, "")),
    st.tuples(st.just("peer closes"), st.sampled_from(CODES), st.sampled_from(["", "grün"])),
    st.tuples(st.just("peer violates"), st.sampled_from([1002, 1007, 1009])),
    st.tuples(st.just("peer is lost"), st.sampled_from(["fin", "reset"])),
    st.tuples(st.just("close"), st.sampled_from([1000, 1001, 4002]), st.just("why")),
    st.just(("complete",)),
    st.tuples(
        st.just("fail"),
        st.sampled_from([Boom("secret"), rxws.ConnectionClosed(rxws.Close(4003, "no"))]),
    ),
    st.just(("shutdown",)),
)


class Transports:
    """An event loop and a server for one test, with a choice of the read path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.runner = asyncio.Runner()
        self.server = DriverServer()
        self.runner.run(self.server.start())
        self.choose = lambda path: force_read_path(monkeypatch, path)

    def drivers(self, steps: list[Step]) -> dict[str, Driver]:
        """Return the transports that can run a program."""
        found: dict[str, Driver] = {
            "push": SocketDriver(self.server, "push", self.choose),
            "pull": SocketDriver(self.server, "pull", self.choose),
            "fake": FakeDriver(),
        }
        if not any(step[0] == "peer violates" for step in steps):
            found["pair"] = PairDriver()
        return found


@pytest.fixture
def transports(monkeypatch: pytest.MonkeyPatch) -> Iterator[Transports]:
    """Provide every transport."""
    logging.disable(logging.CRITICAL)
    one = Transports(monkeypatch)
    yield one
    one.runner.run(one.server.runner.cleanup())
    one.runner.close()
    logging.disable(logging.NOTSET)


@pytest.mark.soak
@pytest.mark.promise("same")
@pytest.mark.promise("paths")
@settings(
    max_examples=600 if SOAK else 60,
    derandomize=not SOAK,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEPS, max_size=12), end=ENDS, hears_errors=st.booleans())
def test_a_program_notifies_the_same_on_every_transport(
    transports: Transports, steps: list[Step], end: Step, hears_errors: bool
) -> None:
    """Values, closes, errors, drops and the peer's frames do not depend on the transport."""
    program = [*steps, end]

    async def run() -> dict[str, dict[str, object]]:
        return {
            name: asdict(await Program(program, hears_errors).run(driver))
            for name, driver in transports.drivers(program).items()
        }

    outcomes = transports.runner.run(run())
    for name, one in outcomes.items():
        assert one == outcomes["push"], f"{name} and push differ"
