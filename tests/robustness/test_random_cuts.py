"""Connections cut anywhere, by a proxy on real sockets: programs at random, by their seeds.

What passed the proxy, as another parser reads it, decides what has to be told: see `trials`.
`make soak` plays a thousand programs at each end on each path, `RXWS_SEED=123` the one program.
"""

from __future__ import annotations

import asyncio
import os
import random
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from aiohttp import web

import rxws
from support.faults.endpoints import trial_servers
from support.faults.judge import Trial
from support.faults.proxy import Proxy
from support.faults.proxy_lane import Cut, CutKind
from support.faults.script import End, Script, random_script
from support.fixtures import Serve
from support.peers.endpoints import AnyConnection, ConnectionSubscriber
from support.peers.fake_tcp import force_read_path, record_read_paths
from support.peers.raw import RawClient, RawServer
from support.processes.server import SOAK, at_once

SEED = os.environ.get("RXWS_SEED")
PROGRAMS = 1000 if SOAK else 40  # at each end, on each path
ALIKE = 200 if SOAK else 12  # at each end
HANDSHAKES = 100 if SOAK else 10  # at each end, of each kind
WIDTH = 20  # connections at once
pytestmark = pytest.mark.soak
ENDS: list[End] = ["server", "client"]


def seeds(count: int) -> list[int]:
    """So many seeds, or the one that is asked for."""
    return [int(SEED)] if SEED else list(range(count))


async def played(serve: Serve, scripts: list[Script]) -> list[Trial]:
    """Play all, many at once, and tell of the runs; a failure names the seed that repeats it."""
    trials: dict[int, Trial] = {}
    failures: list[str] = []
    async with trial_servers(serve) as one:

        async def play(each: Script) -> None:
            try:
                trials[each.seed] = await one.play(each)
            except Exception:  # of whatever kind: the others are to be heard, too
                failures.append(f"{each}\n{traceback.format_exc()}")

        await at_once([partial(play, each) for each in scripts], width=WIDTH)
    if failures:
        pytest.fail(f"{len(failures)} of {len(scripts)}:\n" + "\n".join(failures[:5]))
    return [trials[each.seed] for each in scripts]


@pytest.mark.promise("before-end")
@pytest.mark.promise("cut")
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("path", ["push", "pull"])
async def test_a_cut_anywhere(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, path: str, end: End
) -> None:
    """No cut completes unless a close came first; what was whole before it is told, and once."""
    force_read_path(monkeypatch, path)
    taken = record_read_paths(monkeypatch)
    trials = await played(serve, [random_script(seed, end) for seed in seeds(PROGRAMS)])
    assert set(taken) == {path}
    hows = Counter(trial.proxy.how for trial in trials)
    ends = Counter((trial.told[2], trial.told[3]) for trial in trials)
    print(f"{end}, {path}: cuts {dict(hows)}, ends {dict(ends)}")
    if not SEED:  # the programs are what they are meant to be
        assert hows["fin"] + hows["rst"] >= 0.7 * PROGRAMS
        assert min(hows["fin"], hows["rst"]) >= 0.3 * PROGRAMS
        assert {by for by, _ in ends} == {"network", "peer", "local"}


@pytest.mark.promise("paths")
@pytest.mark.parametrize("end", ENDS)
async def test_both_paths_alike(serve: Serve, monkeypatch: pytest.MonkeyPatch, end: End) -> None:
    """The same bytes up to the same cut make the same notifications on the push and pull path."""
    scripts = [settled(random_script(seed, end, "raw")) for seed in seeds(ALIKE)]
    told: dict[str, list[Any]] = {}
    for path in ("push", "pull"):
        force_read_path(monkeypatch, path)
        told[path] = [trial.told for trial in await played(serve, scripts)]
    for each, push, pull in zip(scripts, told["push"], told["pull"], strict=True):
        assert push == pull, each
    assert SEED or sum(len(values) for values, *_ in told["push"]) > ALIKE


def settled(one: Script) -> Script:
    """The same program, but that the peer's bytes decide all: no race is left in it."""
    cut = replace(one.cut, way=one.way_in, how="fin")
    outbound = [message for message in one.outbound if len(message) < 10_000]
    return replace(one, compress=False, slow=False, outbound=outbound, cut=cut, late="fin")


# --- cuts within the handshake -----------------------------------------------------------------


def handshake_cuts() -> list[Cut]:
    """Places within the head of a request and that of an answer, the edges among them."""
    rng = random.Random(101)
    cuts: list[Cut] = []
    for way in ("up", "down"):
        for how in ("fin", "rst"):
            hows: CutKind = how
            counts = [0, 1, *(rng.randint(2, 100) for _ in range(HANDSHAKES - 2))]
            cuts += [Cut(way, "head", count, hows) for count in counts]
    return cuts


async def test_a_handshake_that_is_cut_at_the_client() -> None:
    """It is a `ConnectError`, wherever the request or the answer was cut."""

    async def answer(server: RawServer) -> None:
        with suppress(ConnectionError):
            await (await server.accept()).until_ended()
        for peer in server.peers:
            await peer.rst()

    async def connect(cut: Cut) -> None:
        async with RawServer() as server, Proxy(server.port, cut) as proxy:
            answering = asyncio.create_task(answer(server))
            with pytest.raises(rxws.ConnectError):
                await rxws.connect(f"ws://127.0.0.1:{proxy.port}/")
            await answering
            await proxy.ended()
            assert proxy.how == cut.how, cut

    await at_once([partial(connect, cut) for cut in handshake_cuts()], width=WIDTH)


async def test_a_handshake_that_is_cut_at_the_server(serve: Serve) -> None:
    """No handler runs for half a request; whose answer is lost has a connection, which is lost."""
    seen: dict[str, ConnectionSubscriber] = {}

    async def route(request: web.Request) -> web.StreamResponse:
        def handler(conn: AnyConnection) -> None:
            seen[request.path] = ConnectionSubscriber(conn)

        return await rxws.upgrade(request, handler)

    app = web.Application()
    app.router.add_get("/{number}", route)
    rxws.setup(app)
    port = await serve(app)

    async def connect(number: int, cut: Cut) -> None:
        path = f"/{number}"
        async with Proxy(port, cut) as proxy:
            with pytest.raises(ConnectionError):
                await RawClient.connect(proxy.port, path)
            await proxy.ended()
            assert proxy.how == cut.how, cut
        assert (path in seen) == (cut.way == "down"), cut
        if path in seen:
            assert await seen[path].end() == rxws.Close(1006), cut
            assert type(seen[path].error) is rxws.ConnectionClosed

    jobs = enumerate(handshake_cuts())
    await at_once([partial(connect, *job) for job in jobs], width=WIDTH)
