"""The servers and clients of trials: the peers of rxws behind the proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from aiohttp import web
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import ServerConnection
from websockets.asyncio.server import serve as websockets_serve

import rxws
from support.faults.judge import Trial
from support.faults.peers import AiohttpScriptPeer, RawScriptPeer, WebsocketsScriptPeer
from support.faults.script import Script
from support.fixtures import Serve
from support.peers.endpoints import EXTENSION
from support.peers.raw import RawClient, RawServer

OPTIONS: Any = {"max_buffer": 64 << 20, "send_timeout": 60.0}


class TrialServers:
    """The servers that the trials of one test share, and the trials by seed."""

    def __init__(self) -> None:
        self.ports: dict[str, int] = {}
        self.trials: dict[int, Trial] = {}

    async def play(self, script: Script) -> Trial:
        """Run a script and judge it."""
        trial = self.trials[script.seed] = Trial(script)
        path = f"/{script.seed}"

        async def visit(port: int) -> None:
            url = f"ws://127.0.0.1:{port}{path}"
            async with rxws.connect(url, compress=script.compress, **OPTIONS) as conn:
                trial.compose(conn)
                await trial.seen.end()

        async def call_raw(port: int) -> None:
            extension = "permessage-deflate" if script.compress else None
            peer = await RawClient.connect(port, path, headers={EXTENSION: extension})
            agreed = peer.head.headers.get(EXTENSION.lower())
            trial.script_peer = script_peer = RawScriptPeer(script, peer, agreed)
            trial.talking.set_result(None)
            await script_peer.run()

        async def call_websockets(port: int) -> None:
            async with websockets_connect(
                f"ws://127.0.0.1:{port}{path}",
                compression="deflate" if script.compress else None,
                max_size=None,
            ) as ws:
                await self._talk(trial, ws)

        if script.end == "server":
            await trial.run(
                self.ports["rxws"], call_raw if script.peer == "raw" else call_websockets
            )
        elif script.peer == "raw":
            async with RawServer() as server:
                answering = asyncio.create_task(self._answer(trial, server))
                try:
                    await trial.run(server.port, visit)
                    await answering
                finally:
                    answering.cancel()
        else:
            await trial.run(self.ports[script.peer], visit)
        trial.judge()
        return trial

    async def _answer(self, trial: Trial, server: RawServer) -> None:
        extension = "permessage-deflate" if trial.script.compress else None
        peer = await server.accept({EXTENSION: extension})
        trial.script_peer = script_peer = RawScriptPeer(trial.script, peer, extension)
        trial.talking.set_result(None)
        await script_peer.run()

    async def _talk(self, trial: Trial, ws: Any) -> None:
        trial.script_peer = script_peer = WebsocketsScriptPeer(trial.script)
        trial.talking.set_result(None)
        await script_peer.run(ws)

    # --- the servers

    async def rxws_server(self, request: web.Request) -> web.StreamResponse:
        """Serve rxws."""
        trial = self.trials[int(request.match_info["seed"])]
        compress = trial.script.compress
        return await rxws.upgrade(request, trial.compose, compress=compress, **OPTIONS)

    async def aiohttp_server(self, request: web.Request) -> web.StreamResponse:
        """Serve aiohttp as the peer."""
        trial = self.trials[int(request.match_info["seed"])]
        ws = web.WebSocketResponse(compress=trial.script.compress, max_msg_size=0)
        await ws.prepare(request)
        trial.script_peer = script_peer = AiohttpScriptPeer(trial.script)
        trial.talking.set_result(None)
        await script_peer.run(ws)
        return ws

    async def websockets_server(self, ws: ServerConnection) -> None:
        """Serve `websockets` as the peer."""
        assert ws.request is not None
        await self._talk(self.trials[int(ws.request.path[1:])], ws)


@asynccontextmanager
async def trial_servers(serve: Serve) -> AsyncIterator[TrialServers]:
    """Run a server of each kind."""
    one = TrialServers()
    async with AsyncExitStack() as stack:
        for name, route in (("rxws", one.rxws_server), ("aiohttp", one.aiohttp_server)):
            app = web.Application()
            app.router.add_get("/{seed}", route)
            rxws.setup(app)
            one.ports[name] = await serve(app)
        server = await stack.enter_async_context(
            websockets_serve(one.websockets_server, "127.0.0.1", 0, max_size=None)
        )
        one.ports["websockets"] = next(iter(server.sockets)).getsockname()[1]
        yield one
