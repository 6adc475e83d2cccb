"""Random programs whose connection a proxy cuts anywhere, on real sockets.

The bytes that passed the proxy, read by another parser, decide which notifications are right: see
`support.faults.judge`. `make soak` plays a thousand programs at each end on each path;
`RXWS_SEED=123` plays one program.
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
COMPARED = 200 if SOAK else 12  # at each end
HANDSHAKES = 100 if SOAK else 10  # at each end, of each kind
WIDTH = 20  # connections at once
pytestmark = pytest.mark.soak
ENDS: list[End] = ["server", "client"]


def seeds(count: int) -> list[int]:
    """Return `count` seeds, or the one from `RXWS_SEED`."""
    return [int(SEED)] if SEED else list(range(count))


async def play_all(serve: Serve, scripts: list[Script]) -> list[Trial]:
    """Play many scripts at once; a failure names the seed that repeats it."""
    trials: dict[int, Trial] = {}
    failures: list[str] = []
    async with trial_servers(serve) as one:

        async def play(each: Script) -> None:
            try:
                trials[each.seed] = await one.play(each)
            except Exception:  # collect every failure
                failures.append(f"{each}\n{traceback.format_exc()}")

        await at_once([partial(play, each) for each in scripts], width=WIDTH)
    if failures:
        pytest.fail(f"{len(failures)} of {len(scripts)}:\n" + "\n".join(failures[:5]))
    return [trials[each.seed] for each in scripts]


@pytest.mark.promise("before-end")
@pytest.mark.promise("cut")
@pytest.mark.parametrize("end", ENDS)
async def test_a_cut_completes_only_after_a_close(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, read_path: str, end: End
) -> None:
    """`incoming` completes only if a close frame came before the cut; no message comes twice."""
    paths = record_read_paths(monkeypatch)
    trials = await play_all(serve, [random_script(seed, end) for seed in seeds(PROGRAMS)])
    assert set(paths) == {read_path}
    hows = Counter(trial.proxy.how for trial in trials)
    ends = Counter((trial.told[2], trial.told[3]) for trial in trials)
    print(f"{end}, {read_path}: cuts {dict(hows)}, ends {dict(ends)}")
    if not SEED:  # the scripts cover every kind of cut and end
        assert hows["fin"] + hows["rst"] >= 0.7 * PROGRAMS
        assert min(hows["fin"], hows["rst"]) >= 0.3 * PROGRAMS
        assert {by for by, _ in ends} == {"network", "peer", "local"}


@pytest.mark.promise("paths")
@pytest.mark.parametrize("end", ENDS)
async def test_both_read_paths_notify_the_same(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, end: End
) -> None:
    """Both read paths give the same notifications if TCP ends after the same byte."""
    scripts = [deterministic(random_script(seed, end, "raw")) for seed in seeds(COMPARED)]
    notifications: dict[str, list[Any]] = {}
    for path in ("push", "pull"):
        force_read_path(monkeypatch, path)
        notifications[path] = [trial.told for trial in await play_all(serve, scripts)]
    both = zip(scripts, notifications["push"], notifications["pull"], strict=True)
    for each, push, pull in both:
        assert push == pull, each
    assert SEED or sum(len(values) for values, *_ in notifications["push"]) > COMPARED


def deterministic(one: Script) -> Script:
    """Return the script without races: the peer's bytes alone decide the outcome."""
    cut = replace(one.cut, way=one.way_in, how="fin")
    outbound = [message for message in one.outbound if len(message) < 10_000]
    return replace(one, compress=False, slow=False, outbound=outbound, cut=cut, late="fin")


# --- cuts during the handshake -----------------------------------------------------------------


def handshake_cuts() -> list[Cut]:
    """Return offsets in the head of a request and of a response, the edges among them."""
    rng = random.Random(101)
    cuts: list[Cut] = []
    for way in ("up", "down"):
        for how in ("fin", "rst"):
            hows: CutKind = how
            counts = [0, 1, *(rng.randint(2, 100) for _ in range(HANDSHAKES - 2))]
            cuts += [Cut(way, "head", count, hows) for count in counts]
    return cuts


async def test_a_handshake_that_is_cut_at_the_client() -> None:
    """A handshake that is cut anywhere is a `ConnectError`."""

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
    """Half a request runs no handler; a connection whose handshake response is lost is a 1006."""
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
