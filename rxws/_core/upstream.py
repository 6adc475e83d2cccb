"""Find the connections that feed an Observable, so that an operator can pause them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from .connection import Pausable

__all__ = ["collect_upstreams", "forget_upstreams", "no_upstreams", "register_upstream"]

# The lists to which `register_upstream` adds, one for each `collect_upstreams` around it. A context
# variable, because actions that are scheduled meanwhile run in a copy of the context.
_COLLECTORS: ContextVar[tuple[list[Pausable], ...]] = ContextVar("rxws.upstreams", default=())


@contextmanager
def collect_upstreams() -> Generator[list[Pausable]]:
    """Collect the flow of each connection whose `incoming` is subscribed in the `with` block.

    It does not matter how many operators lie in between. The list grows later, too, when an
    operator such as `concat` subscribes to its next source on the event loop.
    """
    flows: list[Pausable] = []
    token = _COLLECTORS.set((*_COLLECTORS.get(), flows))
    try:
        yield flows
    finally:
        _COLLECTORS.reset(token)


def register_upstream(flow: Pausable) -> None:
    """Add a flow to the lists of all `collect_upstreams` that are active here."""
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
    """Stop collecting in the current context."""
    _COLLECTORS.set(())
