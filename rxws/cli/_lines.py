"""Lines of a file, read without blocking the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator

__all__ = ["read_lines"]

_CHUNK = 1 << 16
_AHEAD = 4  # chunks that may wait


async def read_lines(file: int) -> AsyncIterator[bytes]:
    """Yield the lines of a file descriptor without their ends; the last one needs no end."""
    rest = b""
    async for chunk in _read_chunks(file):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.removesuffix(b"\r")
    if rest:
        yield rest


async def _read_chunks(file: int) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes | OSError] = asyncio.Queue()
    room = threading.Semaphore(_AHEAD)

    def read() -> None:
        chunk: bytes | OSError = b"more"
        while chunk and not isinstance(chunk, OSError):
            room.acquire()
            try:
                # Not `sys.stdin.buffer`, whose lock would stop Python's exit during a read.
                chunk = os.read(file, _CHUNK)
            except OSError as error:
                chunk = error
            try:
                loop.call_soon_threadsafe(chunks.put_nowait, chunk)
            except RuntimeError:  # the loop is closed
                return

    # A daemon: asyncio cannot read files, nor anything on Windows, and a read cannot be cancelled.
    threading.Thread(target=read, daemon=True).start()
    while chunk := await chunks.get():
        if isinstance(chunk, OSError):
            raise chunk
        room.release()
        yield chunk
