"""A Jupyter front end: runs cells and assigns each output to its cell.

nbclient discards outputs of a finished cell. JupyterLab shows them, and this front end keeps them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

from jupyter_client.manager import AsyncKernelManager

PATIENCE = 60.0  # seconds


class Cell:
    """One run of a cell, and its outputs.

    Attributes:
        text: What was printed.
        result: The text of its last expression.
        shown: The latest bundle of each display.
        displays: The number of displays.
        error: The name of the exception that ended it.
        printed: Set when it has printed.
        over: Set when it has finished.
    """

    def __init__(self) -> None:
        self.text = ""
        self.result = ""
        self.shown: dict[str, dict[str, Any]] = {}
        self.displays = 0
        self.error = ""
        self.printed = asyncio.Event()
        self.over = asyncio.Event()

    @property
    def picture(self) -> str:
        """The text of the one display."""
        [bundle] = self.shown.values()
        return str(bundle["text/plain"])


class FrontEnd:
    """Run cells, and assign what the kernel sends to them."""

    def __init__(self, manager: AsyncKernelManager, client: Any) -> None:
        self._manager = manager
        self._client = client
        self._cells: dict[str, Cell] = {}

    async def run(self, source: str, cell_id: str | None = None) -> Cell:
        """Run a cell and wait until it has finished."""
        cell = self.start(source, cell_id)
        async with asyncio.timeout(PATIENCE):
            await cell.over.wait()
        return cell

    def start(self, source: str, cell_id: str | None = None) -> Cell:
        """Start a cell."""
        content = {"code": source, "silent": False, "store_history": True, "allow_stdin": False}
        metadata = {"cellId": cell_id} if cell_id else {}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        cell = self._cells[message["header"]["msg_id"]] = Cell()
        self._client.shell_channel.send(message)
        return cell

    async def interrupt(self) -> None:
        """Interrupt the kernel, as the stop button does."""
        await self._manager.interrupt_kernel()

    async def listen(self) -> None:
        """Receive what the kernel sends."""
        while True:
            message = await self._client.get_iopub_msg(timeout=None)
            cell = self._cells.get(message["parent_header"].get("msg_id"))
            kind, content = message["msg_type"], message["content"]
            if kind in ("display_data", "update_display_data"):
                self._show(kind, content, cell)
            elif cell is not None:
                if kind == "stream":
                    cell.text += content["text"]
                    cell.printed.set()
                elif kind == "execute_result":
                    cell.result = content["data"]["text/plain"]
                elif kind == "error":
                    cell.error = content["ename"]
                elif kind == "status" and content["execution_state"] == "idle":
                    cell.over.set()

    def _show(self, kind: str, content: Any, sender: Cell | None) -> None:
        name = content["transient"].get("display_id", "")
        if kind == "display_data":
            assert sender is not None
            sender.displays += 1
            sender.shown[name] = content["data"]
        for cell in self._cells.values():
            if name in cell.shown:
                cell.shown[name] = content["data"]


@asynccontextmanager
async def kernel() -> AsyncGenerator[FrontEnd]:
    """Run a kernel, and yield its front end."""
    manager = AsyncKernelManager()
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    listening: asyncio.Task[None] | None = None
    try:
        await client.wait_for_ready(timeout=PATIENCE)
        front = FrontEnd(manager, client)
        listening = asyncio.create_task(front.listen())
        yield front
    finally:
        if listening is not None:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        manager.context.destroy(linger=0)
