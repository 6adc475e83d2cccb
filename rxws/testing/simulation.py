"""A handler and a scripted peer in virtual time: the real session, without a network or a loop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, overload

from typing_extensions import Unpack
from yarl import URL

from rxws import codecs
from rxws._core.connection import Handler, Handshake
from rxws._recording.recording import Recording
from rxws._session.handler import check_handler
from rxws._session.options import ConnectionOptions, Options
from rxws.codecs import Codec

from .scenario import Scene, Simulation, played, replayed
from .timeline import named

__all__ = ["simulate"]

In = TypeVar("In")
Out = TypeVar("Out")


@overload
def simulate(
    handler: Handler[str | bytes, str | bytes],
    incoming: str | Recording = "",
    *,
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: Handshake | None = None,
    **options: Unpack[ConnectionOptions],
) -> Simulation[str | bytes, str | bytes]: ...
@overload
def simulate(
    handler: Handler[In, Out],
    incoming: str | Recording = "",
    *,
    codec: Codec[In, Out],
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: Handshake | None = None,
    **options: Unpack[ConnectionOptions],
) -> Simulation[In, Out]: ...
def simulate(
    handler: Handler[Any, Any],
    incoming: str | Recording = "",
    *,
    codec: Codec[Any, Any] = codecs.raw,
    step: float = 1.0,
    values: Mapping[Any, Any] | None = None,
    until: float | None = None,
    peer_codec: Codec[Any, Any] | None = None,
    handshake: Handshake | None = None,
    **options: Any,
) -> Simulation[Any, Any]:
    """Run a handler against a scripted peer in virtual time.

    The session is the real one, with all its limits and deadlines; the wire is none. The peer
    answers pings and closes at once, while it takes frames.

    Args:
        handler: As for `rxws.websocket`; called once, before the first frame.
        incoming: What the peer does, as marbles: a name is a message, `|` a close with 1000,
            `{4001 reason}` one with another code, `#` the loss of TCP; with `<` the peer stops
            taking frames, with `>` it starts again. Or a recording of a connection, whose peer does
            the same again.
        codec: The handler's codec.
        step: Seconds of one character.
        values: What names stand for: values that `peer_codec` encodes. A name that is not in here
            is a text message as it stands.
        until: Seconds that pass in all; by default as many as the marbles take.
        peer_codec: The peer's codec; `codec` if not given.
        handshake: What was agreed upon; a plain one if not given.
        **options: See `rxws.ConnectionOptions`.

    Returns:
        What happened.

    Raises:
        NeedsEventLoop: The handler waits for what only an event loop brings.
        ValueError: The marbles are none, or an option is out of range.

    Examples:
        ```python
        def test_debounces():
            sim = simulate(handler, "a-b-c-----|", step=0.1)
            assert sim.outgoing == marbles("-------C--|", step=0.1)
            assert sim.closed.code == 1000
        ```
    """
    check_handler(handler)
    names = named(values)
    scene = Scene(
        Options(codec=codec, **options),
        handshake or Handshake(URL("ws://localhost/"), {}),
        Simulation(step, names),
    )
    if isinstance(incoming, Recording):
        acts, length = replayed(incoming)
    else:
        acts, length = played(incoming, step, names)
    for act in acts:
        scene.plan(act, peer_codec or codec)
    return scene.run(handler, length if until is None else until)
