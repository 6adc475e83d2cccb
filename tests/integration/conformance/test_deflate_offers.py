"""Every legal offer of permessage-deflate, tried by a raw client that inflates by the answer."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator

import pytest
from aiohttp import web

import rxws
from support.fixtures import Dial, Serve
from support.peers.frames import Op

NAME = "permessage-deflate"
# More than the smallest windows, with matches far and near; a few messages, for the context.
MESSAGES = ["".join(chr(97 + (i * i // 7 + k) % 26) for i in range(3000)) * 2 for k in range(3)]


def offers() -> Iterator[list[str]]:
    """Yield the parameters of every combination, in both orders."""
    sizes = [None, 8, 9, 10, 12, 14, 15]
    for takeovers in itertools.product([False, True], repeat=2):
        for server, client in itertools.product(sizes, [None, "", "=8", "=9", "=15"]):
            offer = [
                name
                for name, is_set in zip(
                    ("server_no_context_takeover", "client_no_context_takeover"),
                    takeovers,
                    strict=True,
                )
                if is_set
            ]
            if server is not None:
                offer.append(f"server_max_window_bits={server}")
            if client is not None:
                offer.append(f"client_max_window_bits{client}")
            yield offer
            if len(offer) > 1:
                yield offer[::-1]


def values(parameters: list[str]) -> dict[str, str]:
    """Return the values of parameters by name; without a value it is empty."""
    return {one.partition("=")[0]: one.partition("=")[2] for one in parameters}


def check_answer(offer: list[str], answer: list[str]) -> int:
    """Check an answer by RFC 7692, section 7.1; return the size of the server's window."""
    names = [one.partition("=")[0] for one in answer]
    given, asked = values(answer), values(offer)
    assert len(set(names)) == len(names)
    if "server_no_context_takeover" in asked:
        assert given.get("server_no_context_takeover") == ""
    assert ("client_max_window_bits" in given) <= ("client_max_window_bits" in asked)
    if limit := asked.get("server_max_window_bits"):
        assert 8 <= int(given["server_max_window_bits"]) <= int(limit)
    return int(given.get("server_max_window_bits", 15))


@pytest.mark.promise("handshake")
async def test_every_offer_of_compression_is_answered_by_the_rfc(
    serve: Serve, raw_client: Dial
) -> None:
    """An offer of compression is accepted with the window size that it asks for, or declined."""

    async def send(request: web.Request) -> web.StreamResponse:
        def handler(conn: rxws.Connection) -> None:
            for message in MESSAGES:
                conn.outgoing.on_next(message)
            conn.outgoing.on_completed()

        return await rxws.upgrade(request, handler)

    port = await serve(send)
    declined = 0
    for offer in offers():
        headers = {"Sec-WebSocket-Extensions": "; ".join([NAME, *offer])}
        client = await raw_client(port, headers=headers)
        answer = client.head.headers.get("sec-websocket-extensions")
        received = await client.messages(len(MESSAGES))
        if answer is None:
            declined += 1
            assert "server_max_window_bits=8" in offer
            assert [frame.payload.decode() for frame in received] == MESSAGES
        else:
            name, *parameters = answer.split("; ")
            assert name == NAME
            window = check_answer(offer, parameters)
            inflater = zlib.decompressobj(-window)
            for frame, message in zip(received, MESSAGES, strict=True):
                assert (frame.opcode, frame.rsv) == (Op.TEXT, 4)
                if "server_no_context_takeover" in parameters:
                    inflater = zlib.decompressobj(-window)
                text = inflater.decompress(frame.payload + b"\x00\x00\xff\xff")
                assert text.decode() == message
        await client.answer_close()
        await client.until_ended()
    assert declined == sum("server_max_window_bits=8" in offer for offer in offers())
