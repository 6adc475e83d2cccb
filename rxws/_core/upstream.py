"""Find the connections that feed an Observable, so that an operator can pause them."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from .connection import Pausable

__all__ = ["collect_upstreams", "forget_upstreams", "no_upstreams", "register_upstream"]

# Who gathers flows; the innermost last. It is kept by what is scheduled within, as all context is.
_GATHERING: ContextVar[tuple[list[Pausable], ...]] = ContextVar("rxws.upstreams", default=())


@contextmanager
def collect_upstreams() -> Generator[list[Pausable]]:
    """Gather the flows of all connections whose `incoming` is subscribed within, however deep.

    So who subscribes an operator chain can hold back the connection at its other end. The list
    grows where an operator like `concat` subscribes later, on the event loop.
    """
    flows: list[Pausable] = []
    token = _GATHERING.set((*_GATHERING.get(), flows))
    try:
        yield flows
    finally:
        _GATHERING.reset(token)


def register_upstream(flow: Pausable) -> None:
    """Be found by `collect_upstreams`: what this holds is subscribed here."""
    for flows in _GATHERING.get():
        flows.append(flow)


@contextmanager
def no_upstreams() -> Generator[None]:
    """Let what is subscribed within be nobody's source."""
    token = _GATHERING.set(())
    try:
        yield
    finally:
        _GATHERING.reset(token)


def forget_upstreams() -> None:
    """Stop collecting in the present context."""
    _GATHERING.set(())
