"""A connection that was never awaited, and other wrong uses of what `connect` returns."""

from __future__ import annotations

import asyncio
import gc
import warnings
from typing import Any

import pytest

import rxws
from rxws.testing import serve

URL = "ws://me:secret@unused.invalid/?token=secret"


def handler(conn: rxws.Connection) -> None: ...


def test_a_call_that_is_never_awaited_warns() -> None:
    """A forgotten `await` gives a RuntimeWarning with the URL, as for a coroutine."""
    with pytest.warns(RuntimeWarning, match="never awaited: use 'await rxws.connect") as caught:
        rxws.connect(URL)
    assert "unused.invalid" in str(caught[0].message)
    assert "secret" not in str(caught[0].message)
    assert caught[0].filename == __file__


@pytest.mark.parametrize(
    "name", ["incoming", "outgoing", "errors", "closed", "flow", "handshake", "scheduler"]
)
def test_an_attribute_of_a_connection_that_is_not_open(name: str) -> None:
    """The attributes of a Connection raise an AttributeError that says to await it first."""
    call: Any = rxws.connect(URL)
    with pytest.raises(AttributeError, match=f"'{name}': use 'await rxws.connect"):
        getattr(call, name)
    with pytest.raises(AttributeError, match=r"no attribute 'other'$"):
        _ = call.other
    assert not hasattr(call, name)
    with pytest.warns(RuntimeWarning, match="never awaited"):
        del call


def test_with_instead_of_async_with() -> None:
    """`with` and `async for` raise a TypeError that names what to use."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call: Any = rxws.connect(URL)
        with pytest.raises(TypeError, match="'async with' instead of 'with'"), call:
            pass
        with pytest.raises(TypeError, match=r"rxws\.connections .* 'async for message in"):
            aiter(call)
        del call
        gc.collect()


async def test_no_warning_for_a_call_that_is_used() -> None:
    """A call that is awaited, entered, or has failed or been refused does not warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        async with serve(handler) as server:
            async with rxws.connect(server.url):
                pass
            conn = await rxws.connect(server.url)
            conn.outgoing.on_completed()
            conn = await asyncio.wait_for(rxws.connect(server.url), 10)
            conn.outgoing.on_completed()
        with pytest.raises(rxws.ConnectError):
            await rxws.connect(server.url)
        refused: Any = rxws.connect
        with pytest.raises(TypeError):
            refused(server.url, pingg=1)
        rxws.connections(server.url)
        gc.collect()
