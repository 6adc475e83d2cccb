"""The errors about unknown options: they name the option that was meant."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import ClientSession

import rxws
from rxws._session.option_names import ALIASES, OWNERS
from rxws.testing import pair, serve, simulate

URL = "ws://unused.invalid/"


def handler(conn: rxws.Connection) -> None: ...


def websocket(**options: Any) -> Any:
    return rxws.websocket(handler, **options)


def decorator(**options: Any) -> Any:
    return rxws.websocket(**options)(handler)


def connect(**options: Any) -> Any:
    return rxws.connect(URL, **options)


def connections(**options: Any) -> Any:
    return rxws.connections(URL, **options)


def subject(**options: Any) -> Any:
    return rxws.WebSocketSubject(URL, **options)


def simulated(**options: Any) -> Any:
    return simulate(handler, "a", **options)


def paired(**options: Any) -> Any:
    return pair(handler, **options)


def served(**options: Any) -> Any:
    return rxws.serve(handler, **options)


SERVERS = [websocket, decorator, simulated, paired, served]
CLIENTS = [connect, connections, subject]

call = pytest.mark.parametrize("call", [*SERVERS, *CLIENTS])


@call
@pytest.mark.parametrize(
    ("given", "ours"),
    [
        ("pingg", "heartbeat"),
        ("heartbeats", "heartbeat"),
        ("heart_beat", "heartbeat"),
        ("codecs", "codec"),
        ("compresss", "compress"),
        ("max_bufer", "max_buffer"),
        ("highWater", "high_water"),
        ("ping_interval", "heartbeat"),
        ("ping_timeout", "heartbeat"),
        ("ping_intervall", "heartbeat"),
        ("max_size", "max_message_size"),
        ("max_msg_size", "max_message_size"),
        ("ws_max_size", "max_message_size"),
        ("compression", "compress"),
        ("subprotocols", "protocols"),
        ("subprotocol", "protocols"),
        ("write_limit", "high_water"),
        ("decode_text", "codec"),
        ("receive_timeout", "heartbeat"),
        ("timeout", "close_timeout"),
    ],
)
def test_an_unknown_option_names_the_right_one(
    call: Callable[..., Any], given: str, ours: str
) -> None:
    """An unknown or misspelled option, or one of another library, raises with the right name."""
    with pytest.raises(TypeError) as caught:
        call(**{given: 1})
    text = str(caught.value)
    assert text.startswith(f"{given}= is not an option of rxws.")
    assert re.search(rf"\b{ours}=", text), text


@pytest.mark.parametrize("given", ["additional_headers", "extra_headers", "header"])
@pytest.mark.parametrize("call", CLIENTS)
def test_a_clients_option_has_another_name(call: Callable[..., Any], given: str) -> None:
    """The names of other libraries for a client's options are known."""
    with pytest.raises(TypeError, match=rf"^{given}= is not an option of rxws\..*: use headers="):
        call(**{given: {}})


def test_the_tls_option_of_a_client_is_renamed_for_a_server() -> None:
    """`ssl` of `rxws.connect` is `ssl_context` of `rxws.serve`, and the error says so."""
    with pytest.raises(TypeError, match=r"^ssl= is not an option of .*serve: use ssl_context=$"):
        rxws.serve(handler, ssl=None)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^ssl= is not an option of .*, but of rxws.connect$"):
        websocket(ssl=None)


@pytest.mark.parametrize(
    ("call", "given", "owner"),
    [
        (connect, "origins", "rxws.websocket, rxws.upgrade and rxws.serve"),
        (connect, "backoff", "rxws.connections and rxws.WebSocketSubject"),
        (connections, "ttl", "rxws.WebSocketSubject"),
        (websocket, "open_timeout", "rxws.connect"),
        (websocket, "headers", "rxws.connect"),
        (websocket, "path", "rxws.serve"),
        (simulated, "origins", "rxws.websocket, rxws.upgrade and rxws.serve"),
    ],
)
def test_an_option_of_another_function_names_it(
    call: Callable[..., Any], given: str, owner: str
) -> None:
    """An option that only another function has names that function."""
    with pytest.raises(TypeError, match=rf"^{given}= is not an option of .*, but of {owner}$"):
        call(**{given: None})
    with pytest.raises(TypeError, match=r"extra_headers= .*; headers= is one of rxws.connect"):
        websocket(extra_headers={})


@pytest.mark.parametrize(
    ("call", "given", "remedy"),
    [
        (connect, "autoclose", "rxws answers close frames itself"),
        (websocket, "autoping", "rxws answers pings itself"),
        (connect, "cookies", "headers="),
        (connect, "max_queue", "conn.flow"),
        (websocket, "process_request", "rxws.upgrade"),
        (subject, "openObserver", "status"),
    ],
)
def test_an_option_without_equivalent_names_the_remedy(
    call: Callable[..., Any], given: str, remedy: str
) -> None:
    """An option of another library that rxws does not have names what to use instead."""
    with pytest.raises(TypeError, match=re.escape(remedy)):
        call(**{given: None})


@call
def test_any_other_name_lists_all_options(call: Callable[..., Any]) -> None:
    """An option that resembles none lists all options."""
    with pytest.raises(TypeError, match=r"xyz= is not .*; its options are .*codec, .*heartbeat, "):
        call(xyz=1)


@pytest.mark.parametrize("call", [connections, subject])
def test_the_options_of_a_reconnecting_client_are_suggested(call: Callable[..., Any]) -> None:
    """A misspelled option of a reconnecting client is found, too."""
    with pytest.raises(TypeError, match=r"backof= is not .*: use backoff="):
        call(backof=1)
    with pytest.raises(TypeError, match=r"reconnect_interval= is not .*: use backoff="):
        call(reconnect_interval=1)
    with pytest.raises(TypeError, match=r"reconnect_interval= .*; backoff= is one of rxws.conn"):
        connect(reconnect_interval=1)


async def test_upgrade_and_serve_check_the_names() -> None:
    """`upgrade` and `serve` check the names of their options."""
    request: Any = object()
    upgrade: Any = rxws.upgrade
    with pytest.raises(TypeError, match=r"pingg= is not an option of rxws.upgrade: use heartbeat="):
        await upgrade(request, handler, pingg=1)
    with pytest.raises(TypeError, match=r"origin= is not an option of rxws.testing.serve"):
        async with serve(handler, origin="*"):
            pass


@call
def test_every_suggestion_is_an_option_of_some_function(call: Callable[..., Any]) -> None:
    """Every suggested name is accepted by the function that the message names."""
    accepted = {"ssl_context", "verify_ssl"} if call in CLIENTS else set()  # by aiohttp, too
    for given, ours in ALIASES.items():
        if given in accepted or (call is served and given == "ssl_context"):
            continue
        with pytest.raises(TypeError, match=rf"^{given}= .*(: use {ours}=|; {ours}= is one of)"):
            call(**{given: None})
    assert not ALIASES.keys() & OWNERS.keys()


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")
async def test_a_session_of_the_user_may_take_other_options() -> None:
    """A session with its own `ws_connect` gets unknown options; those of rxws stay refused."""

    class OtherSession(ClientSession):
        def ws_connect(self, *args: Any, colour: str = "", **options: Any) -> Any:
            return super().ws_connect(*args, **options)

    call: Any = rxws.connect
    async with serve(handler) as server, OtherSession() as session:
        async with call(server.url, session=session, colour="red"):
            pass
        with pytest.raises(TypeError, match="autoclose= is not an option"):
            call(server.url, session=session, autoclose=True)
        rxws.connections(server.url, session=session, colour="red")  # type: ignore[call-overload]
    async with ClientSession() as plain:
        with pytest.raises(TypeError, match="colour= is not an option"):
            call(server.url, session=plain, colour="red")
