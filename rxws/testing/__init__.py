"""Tests of handlers: in virtual time, on a pair of connections, or on a real server."""

from .clock import Clock
from .diff import difference
from .fake_transport import NeedsEventLoop, Sent
from .pair import Pair, pair
from .real_time import NotVirtualTime
from .server import TestServer, serve
from .simulated_backplane import SimulatedBackplane
from .simulation import Simulation, Simulator, simulate
from .timeline import Timeline, marbles

__all__ = [
    "Clock",
    "NeedsEventLoop",
    "NotVirtualTime",
    "Pair",
    "Sent",
    "SimulatedBackplane",
    "Simulation",
    "Simulator",
    "TestServer",
    "Timeline",
    "difference",
    "marbles",
    "pair",
    "serve",
    "simulate",
]


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
