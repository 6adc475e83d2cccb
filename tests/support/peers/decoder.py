"""Decode frames with an independent parser, that of `websockets`."""

from __future__ import annotations

from dataclasses import dataclass

from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Close, Frame, Opcode
from websockets.headers import parse_extension
from websockets.protocol import Protocol, Side, State


@dataclass(frozen=True, slots=True)
class Decoded:
    """The complete messages of one direction, and the close frame."""

    messages: list[str | bytes]
    close: Close | None


def decode(data: bytes, side: Side, extension: str | None) -> Decoded:
    """Decode the bytes that an end on this side received."""
    protocol = Protocol(side, state=State.OPEN, max_size=None)
    if extension is not None:
        protocol.extensions = [deflate_extension(extension, side)]
    protocol.receive_data(data)
    assert protocol.parser_exc is None, protocol.parser_exc
    messages: list[str | bytes] = []
    pieces: list[bytes] = []
    is_text = False
    for event in protocol.events_received():
        assert isinstance(event, Frame)
        if event.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if event.opcode is not Opcode.CONT:
                is_text = event.opcode is Opcode.TEXT
            pieces.append(bytes(event.data))
            if event.fin:
                whole = b"".join(pieces)
                messages.append(whole.decode() if is_text else whole)
                pieces.clear()
    return Decoded(messages, protocol.close_rcvd)


def deflate_extension(extension: str, side: Side) -> PerMessageDeflate:
    """Return the negotiated extension for an end on this side."""
    ((name, pairs),) = parse_extension(extension)
    assert name == "permessage-deflate"
    params = dict(pairs)
    local, remote = ("server", "client") if side is Side.SERVER else ("client", "server")
    return PerMessageDeflate(
        f"{remote}_no_context_takeover" in params,
        f"{local}_no_context_takeover" in params,
        int(params.get(f"{remote}_max_window_bits") or 15),
        int(params.get(f"{local}_max_window_bits") or 15),
    )
