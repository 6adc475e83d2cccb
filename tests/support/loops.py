"""Event loops in other threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from support.peers.raw import PATIENCE

__all__ = ["running_in_thread"]


@contextmanager
def running_in_thread(loop: asyncio.AbstractEventLoop) -> Iterator[threading.Thread]:
    """Run a loop in another thread."""
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield thread
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(PATIENCE)
