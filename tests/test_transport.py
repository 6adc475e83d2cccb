"""The port between a session and the wire: who stands on either side of it."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest
from rig import Rig

from rxws._aiohttp.transport.adapter import AiohttpTransport
from rxws._aiohttp.transport.frame_writer import FrameWriter
from rxws._session.session import Session
from rxws._session.transport import Receiver, Transport
from rxws.testing.clock import Clock
from rxws.testing.fake_transport import FakeTransport

if TYPE_CHECKING:  # what a type checker has to say to it

    def ports(fake: FakeTransport, adapter: AiohttpTransport, session: Session[Any, Any]) -> None:
        on_either: list[Transport] = [fake, adapter]
        behind: Receiver = session
        del on_either, behind


def calls(protocol: type) -> dict[str, list[str]]:
    """The names of a protocol's methods, with those of their parameters."""
    return {
        name: list(inspect.signature(member).parameters)
        for name, member in vars(protocol).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


@pytest.mark.parametrize(
    ("protocol", "what"),
    [(Transport, FakeTransport), (Transport, AiohttpTransport), (Receiver, Session)],
)
def test_who_stands_at_the_port_has_all_its_calls(protocol: type, what: type) -> None:
    """With the same parameters by the same names."""
    for name, parameters in calls(protocol).items():
        member = getattr(what, name)
        if inspect.ismemberdescriptor(member):  # an adapter lends this from its way out
            member = getattr(FrameWriter, name)
        assert list(inspect.signature(member).parameters) == parameters, name
    for name, member in vars(protocol).items():
        if isinstance(member, property):
            assert hasattr(what, name) or hasattr(what(Clock()), name)


def test_the_port_itself_does_nothing() -> None:
    """It is a Protocol: what runs is what stands behind it."""
    stub: Any = object()
    for protocol in (Transport, Receiver):
        for name, parameters in calls(protocol).items():
            assert getattr(protocol, name)(*[stub] * len(parameters)) is None
    for name in ("buffered", "deferred", "received"):
        assert getattr(Transport, name).fget(stub) is None
    assert vars(Receiver)["on_message"].fget(stub) is None


def test_a_session_below_a_loop_needs_none() -> None:
    """From the session down the very code runs without asyncio's loop."""
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()
    rig = Rig(lambda conn: conn.incoming)
    rig.peer.message("echo")
    assert rig.messages == ["echo"]
