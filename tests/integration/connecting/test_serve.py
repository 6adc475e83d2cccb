"""`rxws.serve`, with clients of `websockets`, raw sockets and rxws."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from reactivex import operators as ops
from websockets.asyncio.client import connect as websockets_connect
from websockets.exceptions import ConnectionClosed as PeerClosed
from websockets.exceptions import InvalidStatus

import rxws
from rxws import Close, codecs, testing
from rxws._aiohttp.shutdown import CONNECTIONS
from support import ROOT
from support.fixtures import Dial
from support.peers.tls import PEM

PATIENCE = 30.0  # seconds; the limit of every wait in a test

AnyConnection = rxws.Connection[Any, Any]


METHODS = rxws.rpc.Methods()
METHODS.add(len)


def echo(conn: AnyConnection) -> None:
    conn.incoming.subscribe(conn.outgoing)


def shout(conn: rxws.Connection[str, str]) -> Any:
    return conn.incoming.pipe(ops.map(str.upper))


async def ask(url: str, message: str, **options: Any) -> str | bytes:
    """Send a message with a client of `websockets`, and return the answer."""
    async with asyncio.timeout(PATIENCE), websockets_connect(url, **options) as client:
        await client.send(message)
        return await client.recv()


# --- starting and stopping ----------------------------------------------------------------------


async def test_async_with_serves_until_its_end() -> None:
    """`async with` serves a handler on a free port of 127.0.0.1 until the end of the block."""
    async with rxws.serve(shout, codec=codecs.text) as server:
        assert server.url == f"ws://127.0.0.1:{server.port}/"
        assert server.is_serving()
        assert repr(server) == f"<Server {server.url}>"
        assert await ask(server.url, "hey") == "HEY"
    assert not server.is_serving()
    assert repr(server) == f"<Server {server.url} closed>"
    with pytest.raises(rxws.ConnectError):
        await rxws.connect(server.url)


async def test_await_serves_until_aclose() -> None:
    """`await` returns the same server, which runs until `aclose`; that may be called again."""
    started = rxws.serve(echo)
    server = await started
    assert server is started
    assert await server is server, "it is started once"
    assert await ask(server.url, "hey") == "hey"
    await server.aclose()
    await server.aclose()
    with pytest.raises(rxws.ConnectError):
        await rxws.connect(server.url)
    with pytest.raises(RuntimeError, match=r"is closed: call rxws\.serve again"):
        await server


async def test_a_started_server_may_be_used_in_async_with() -> None:
    """`async with` over a server that is already started closes it."""
    server = await rxws.serve(echo)
    async with server as same:
        assert same is server
        assert await ask(server.url, "hey") == "hey"
    assert not server.is_serving()


@pytest.mark.promise("shutdown")
@pytest.mark.parametrize("leave", ["aclose", "async with"])
async def test_open_connections_get_1001(leave: str) -> None:
    """When a server stops, it closes each connection with 1001 and waits for the answer."""
    closes: list[Close] = []

    def handler(conn: AnyConnection) -> None:
        conn.incoming.subscribe()
        conn.closed.subscribe(closes.append)

    server = await rxws.serve(handler)
    async with websockets_connect(server.url) as client:
        if leave == "aclose":
            await server.aclose()
        else:
            async with server:
                pass
        with pytest.raises(PeerClosed) as caught:
            await client.recv()
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1001, "Going Away")
    assert closes == [Close(1001, "Going Away")]


@pytest.mark.promise("shutdown")
async def test_a_peer_that_does_not_answer_is_aborted(raw_client: Dial) -> None:
    """`drain` limits how long the end waits for a peer that does not answer the close frame."""
    server = await rxws.serve(lambda conn: None, drain=0.05)
    assert server.app[CONNECTIONS]._drain == 0.05
    peer = await raw_client(server.port)
    await server.aclose()
    assert (await peer.closing()).code == 1001
    assert await peer.until_ended()


async def test_cancelling_aclose_aborts_the_connections(raw_client: Dial) -> None:
    """If you cancel `aclose`, it does not wait for the peers, and nothing is left open."""
    server = await rxws.serve(lambda conn: None, drain=PATIENCE * 2)
    peer = await raw_client(server.port)
    closing = asyncio.ensure_future(server.aclose())
    assert (await peer.closing()).code == 1001
    closing.cancel()
    async with asyncio.timeout(PATIENCE):
        await asyncio.wait([closing])
    assert closing.cancelled()
    assert await peer.until_ended()


async def test_aclose_in_two_tasks_waits_in_both(raw_client: Dial) -> None:
    """A second `aclose` waits for the first one."""
    server = await rxws.serve(lambda conn: None)
    peer = await raw_client(server.port)
    closing = [asyncio.ensure_future(server.aclose()) for _ in range(2)]
    await peer.closing()
    assert not any(task.done() for task in closing)
    await peer.answer_close()
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*closing)


async def test_serve_forever_serves_until_cancelled_or_closed() -> None:
    """`serve_forever` starts the server; cancelling it, or `aclose`, closes the server."""
    server = rxws.serve(echo)
    serving = asyncio.ensure_future(server.serve_forever())
    await server
    assert await ask(server.url, "hey") == "hey"
    serving.cancel()
    await asyncio.wait([serving])
    assert serving.cancelled()
    assert not server.is_serving()
    server = await rxws.serve(echo)
    serving = asyncio.ensure_future(server.serve_forever())
    await asyncio.sleep(0)
    await server.aclose()
    async with asyncio.timeout(PATIENCE):
        await serving


PROGRAM = """
import asyncio, sys
import rxws

def echo(conn):
    conn.incoming.subscribe(conn.outgoing)

async def main():
    async with rxws.serve(echo) as server:
        print(server.url, flush=True)
        await server.serve_forever()

asyncio.run(main(), debug=True)
"""


@pytest.mark.promise("shutdown")
async def test_ctrl_c_ends_a_program_with_1001() -> None:
    """Ctrl-C ends a program that serves forever: clients get 1001, nothing is left open."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(PATIENCE):
            url = (await process.stdout.readline()).decode().strip()
            async with websockets_connect(url) as client:
                process.send_signal(signal.SIGINT)
                with pytest.raises(PeerClosed) as caught:
                    await client.recv()
            _, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1001
    lines = err.decode().splitlines()
    assert lines[-1] == "KeyboardInterrupt"
    assert not [line for line in lines if "Warning" in line], lines


# --- handlers and options -----------------------------------------------------------------------


async def test_a_path_and_options() -> None:
    """The handler is served at `path` only, with the options of `websocket`."""
    values: list[Any] = []

    def handler(conn: AnyConnection) -> Any:
        return conn.incoming.pipe(ops.do_action(values.append))

    async with rxws.serve(
        handler, path="/räume", codec=codecs.json, protocols=["v2"], origins=["https://a.example"]
    ) as server:
        assert server.url == f"ws://127.0.0.1:{server.port}/r%C3%A4ume"
        assert await ask(server.url, '{"a":1}', subprotocols=["v2"]) == '{"a":1}'
        with pytest.raises(InvalidStatus, match="404"):
            await ask(f"ws://127.0.0.1:{server.port}/", "")
        with pytest.raises(InvalidStatus, match="403"):
            await ask(server.url, "", origin="https://b.example")
    assert values == [{"a": 1}]


async def test_a_handler_of_websocket_keeps_its_options() -> None:
    """What `websocket` returned keeps its options; those of `serve` override them."""
    route = rxws.websocket(shout, codec=codecs.text, max_message_size=2)
    async with rxws.serve(route) as server:
        with pytest.raises(PeerClosed, match="1009"):
            await ask(server.url, "abc")
    async with rxws.serve(route, max_message_size=3) as server:
        assert await ask(server.url, "abc") == "ABC"


async def test_several_handlers_by_path() -> None:
    """A dict serves several handlers; `url` is then the address without a path."""
    loud = rxws.websocket(shout, codec=codecs.text)
    async with rxws.serve({"/echo": echo, "/rooms/{room}": loud}) as server:
        assert server.url == f"ws://127.0.0.1:{server.port}"
        assert await ask(server.url + "/echo", "hey") == "hey"
        assert await ask(server.url + "/rooms/7", "hey") == "HEY"
        with pytest.raises(InvalidStatus, match="404"):
            await ask(server.url, "")


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "[::1]"),
        ("::1", "[::1]"),
        ("", ""),  # IPv4, or IPv6 if there is some
        ("localhost", "localhost"),
    ],
)
async def test_the_url_of_other_hosts_can_be_connected_to(host: str, shown: str) -> None:
    """`url` can be connected to, also if the server listens on all interfaces or on IPv6."""
    try:
        server = await rxws.serve(echo, host)
    except OSError as exc:
        assert "::" in host
        pytest.skip(f"no IPv6 here: {exc}")
    async with server:
        assert shown in server.url
        assert server.url.endswith(f":{server.port}/")
        assert await ask(server.url, "hey") == "hey"


async def test_tls() -> None:
    """With an `ssl_context` the server speaks TLS, and its URL is `wss://`."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(PEM)
    trusting = ssl.create_default_context(cafile=str(PEM))
    async with rxws.serve(echo, "localhost", ssl_context=context) as server:
        assert server.url.startswith("wss://localhost:")
        assert await ask(server.url, "hey", ssl=trusting) == "hey"


async def test_the_application_may_be_extended() -> None:
    """Before the start you may add routes to `app`."""
    server = rxws.serve(echo, path="/ws")

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="page")

    server.app.router.add_get("/", page)
    async with server, asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        assert (await reader.read()).endswith(b"page")
        writer.close()


# --- mistakes -------------------------------------------------------------------------------------


async def test_a_port_in_use_is_an_oserror() -> None:
    """A port in use raises the plain OSError, which names the address; nothing is left open."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot serve on host='127.0.0.1', port={port}: ") as e:
            await rxws.serve(echo, port=port)
    assert e.value.errno == errno.EADDRINUSE
    assert "in use" in str(e.value)


async def test_an_unknown_host_is_named() -> None:
    """A host that cannot be resolved raises the plain OSError, which names it."""
    with pytest.raises(OSError, match=r"cannot serve on host='nowhere\.invalid', port=0: "):
        await rxws.serve(echo, "nowhere.invalid")


def is_open(port: int) -> bool:
    """Return whether a server listens on a port of 127.0.0.1."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("turns", range(1, 6))
@pytest.mark.parametrize("how", ["cancelled", "closed"])
async def test_a_start_that_is_interrupted_leaves_nothing_open(how: str, turns: int) -> None:
    """If the start is cancelled, or `aclose` is called meanwhile, the server is closed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = rxws.serve(echo, port=port)
    starting = asyncio.ensure_future(server)
    for _ in range(turns):
        await asyncio.sleep(0)
    if how == "cancelled":
        starting.cancel()
    else:
        await server.aclose()
    done = (await asyncio.gather(starting, return_exceptions=True))[0]
    if how == "closed":
        await server.aclose()
        assert done is server or "closed" in str(done)
    elif not isinstance(done, asyncio.CancelledError):  # it had started by then
        await server.aclose()
    assert not server.is_serving()
    assert not is_open(port)


async def test_two_tasks_may_start_a_server() -> None:
    """A second `await` returns when the server has started, too."""
    server = rxws.serve(echo)
    with pytest.raises(RuntimeError, match="not been started"):
        _ = server.url

    async def start() -> str:
        return (await server).url

    first, second = await asyncio.gather(start(), start())
    assert first == second == server.url
    assert await ask(second, "hey") == "hey"
    await server.aclose()


async def test_a_handler_may_close_its_server() -> None:
    """A handler may call `aclose`; the server is then closed, and its cleanup has run."""
    cleaned: list[bool] = []

    async def quit_(conn: AnyConnection) -> None:
        async for _ in conn.incoming:
            await server.aclose()

    async def on_cleanup(_: web.Application) -> None:
        cleaned.append(True)

    server = rxws.serve(quit_)
    server.app.on_cleanup.append(on_cleanup)
    async with asyncio.timeout(PATIENCE), await server, rxws.connect(server.url) as conn:
        conn.outgoing.on_next("quit")
        assert (await conn.closed).code == 1001
    assert cleaned == [True]
    assert not is_open(server.port)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda serve: serve(None), TypeError, "None is not callable"),
        (lambda serve: serve({"/": 3}), TypeError, "3 is not callable"),
        (lambda serve: serve(METHODS), TypeError, r"use rxws.rpc.serve\(methods\)"),
        (lambda serve: serve({"/": METHODS}), TypeError, r"use rxws.rpc.serve\(methods\)"),
        (lambda serve: serve({"/": web.Application()}), TypeError, "with web.run_app"),
        (lambda serve: serve(echo, pth="/"), TypeError, r"pth= is not an option .* use path="),
        (lambda serve: serve(echo, ssl=None), TypeError, "use ssl_context="),
        (lambda serve: serve(echo, codec=str), TypeError, "is not an rxws.Codec"),
        (lambda serve: serve(echo, heartbeat=-1), ValueError, "heartbeat=-1"),
        (lambda serve: serve(echo, origins="nonsense"), ValueError, "nonsense"),
        (lambda serve: serve(echo, drain="2"), TypeError, "drain='2' is not a number of seconds"),
        (lambda serve: serve(echo, path="x"), ValueError, "path='x' does not .* use '/x'"),
        (lambda serve: serve({"/a": echo, "b": echo}), ValueError, "path='b' .* use '/b'"),
    ],
)
@pytest.mark.parametrize("serve", [rxws.serve, testing.serve])
def test_a_mistake_raises_at_the_call(
    serve: Callable[..., Any], call: Callable[[Any], Any], error: type[Exception], text: str
) -> None:
    """A wrong handler or option raises at the call, and nothing is reported later."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(error, match=text):
            call(serve)
        gc.collect()


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: rxws.serve(echo, None), TypeError, "host=None is not a str"),  # type: ignore[call-overload]
        (lambda: rxws.serve(echo, port="80"), TypeError, "port='80' is not a port"),  # type: ignore[call-overload]
        (lambda: rxws.serve(echo, port=True), TypeError, "port=True is not a port"),
        (lambda: rxws.serve(echo, port=65536), ValueError, "port=65536 .* 0 for a free port"),
        (lambda: rxws.serve(echo, port=-1), ValueError, "port=-1"),
        (lambda: rxws.serve({}), ValueError, "no handler in the dict"),
        (lambda: rxws.serve({"/a": echo}, path="/b"), TypeError, "the keys of a dict"),
        (lambda: rxws.serve(web.Application()), TypeError, r"with web\.run_app"),  # type: ignore[arg-type]
        (lambda: rxws.serve(echo, ssl_context=True), TypeError, "ssl_context=True"),  # type: ignore[call-overload]
    ],
)
def test_a_wrong_address_raises_at_the_call(
    call: Callable[[], Any], error: type[Exception], text: str
) -> None:
    """A wrong host, port, certificate or dict raises at the call."""
    with pytest.raises(error, match=text):
        call()


@pytest.mark.parametrize(
    ("serve", "name"), [(rxws.serve, "rxws.serve"), (testing.serve, "rxws.testing.serve")]
)
def test_a_server_that_is_never_awaited_warns(serve: Callable[..., Any], name: str) -> None:
    """A forgotten `await` gives a RuntimeWarning; before the start, `url` and `port` say so."""
    server = serve(echo)
    for attribute in ("url", "port"):
        with pytest.raises(RuntimeError, match=f"has not been started: use 'await {name}") as e:
            getattr(server, attribute)
        del e
    assert repr(server).endswith("Server not started>")
    with pytest.warns(RuntimeWarning, match=rf"{name}\(\) was never awaited: use 'await {name}"):
        del server


async def test_a_server_that_is_closed_before_its_start_does_not_warn() -> None:
    """`aclose` before the start is no mistake."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        server = rxws.serve(echo)
        await server.aclose()
        del server
        gc.collect()


async def test_a_server_that_is_deleted_while_open_warns() -> None:
    """A server that is deleted gives a ResourceWarning with its URL, and goes on serving."""
    server = await rxws.serve(echo)
    url, runner = server.url, server._runner
    with pytest.warns(ResourceWarning, match="was deleted, but is still running") as caught:
        del server
    assert url in str(caught[0].message)
    assert await ask(url, "hey") == "hey"
    await runner.cleanup()


async def test_no_access_log(caplog: pytest.LogCaptureFixture) -> None:
    """Serving logs nothing by itself."""
    with caplog.at_level(logging.WARNING):
        async with rxws.serve(echo) as server:
            await ask(server.url, "hey")
    assert caplog.records == []


async def test_testing_serve_is_awaitable_alike() -> None:
    """`rxws.testing.serve` can be awaited, too; its server is an `rxws.Server`."""
    server = await testing.serve(shout, "/here", codec=codecs.text)
    assert isinstance(server, rxws.Server)
    assert repr(server) == f"<TestServer {server.url}>"
    assert await ask(server.url, "hey") == "HEY"
    await server.aclose()
