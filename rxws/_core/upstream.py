"""Find the connections that feed an Observable, so that an operator can pause them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from .connection import Pausable

__all__ = ["collect_upstreams", "forget_upstreams", "no_upstreams", "register_upstream"]

# The list of each `collect_upstreams` that is active, the outermost first. They are in a context
# variable because asyncio copies the context into callbacks: a source that an operator subscribes
# to later, in such a callback, is added, too.
_COLLECTORS: ContextVar[tuple[list[Pausable], ...]] = ContextVar("rxws.upstreams", default=())


@contextmanager
def collect_upstreams() -> Generator[list[Pausable]]:
    """Collect the flow of each connection whose `incoming` is subscribed in the `with` block.

    Any number of operators may lie in between. The list may grow after the block has ended: an
    operator such as `concat` subscribes to its next source later, on the event loop.
    """
    flows: list[Pausable] = []
    token = _COLLECTORS.set((*_COLLECTORS.get(), flows))
    try:
        yield flows
    finally:
        _COLLECTORS.reset(token)


def register_upstream(flow: Pausable) -> None:
    """Add a flow to the list of each active `collect_upstreams`."""
    for flows in _COLLECTORS.get():
        flows.append(flow)


@contextmanager
def no_upstreams() -> Generator[None]:
    """Collect nothing in the `with` block."""
    token = _COLLECTORS.set(())
    try:
        yield
    finally:
        _COLLECTORS.reset(token)


def forget_upstreams() -> None:
    """Collect nothing more in the current context."""
    _COLLECTORS.set(())
