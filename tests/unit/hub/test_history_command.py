"""The command `history` of `hub.serve`, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from rxws.hub import BackplaneError, Keep
from support.virtual.served_client import Client

FIRST, LAST = 101, 700
POSITIONS = [None, 0, 99, 100, 101, 350, 699, 700, 701, 2000]
LIMITS = [0, 1, 3, 250, 251, 500, 600, 1000, -1]


def client_of_a_long_topic() -> Client:
    """Return a client of a hub that keeps the newest 600 of 700 messages."""
    client = Client(keep=Keep(LAST - FIRST + 1))
    for n in range(1, LAST + 1):
        client.hub.topic("kept:a").on_next(n)
    client.virtual.settle()
    return client


def expected(since: int | None, limit: int, reverse: bool) -> list[int] | None:
    """Return the offsets that a reply has; None if the position is unrecoverable."""
    kept = list(range(FIRST, LAST + 1))
    if since is not None and reverse:
        kept = [n for n in kept if n < since]
    elif since is not None:
        if not FIRST - 1 <= since <= LAST:
            return None
        kept = [n for n in kept if n > since]
    if reverse:
        kept.reverse()
    return kept if limit < 0 else kept[:limit]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("named", [False, True])
def test_history_reads_no_more_than_its_limit(reverse: bool, named: bool) -> None:
    """The reply has what is asked for, and no more messages are read than the limit says."""
    client = client_of_a_long_topic()
    epoch = client.call(history={"channel": "kept:a"})["history"]["epoch"]
    for since in POSITIONS:
        for limit in LIMITS:
            request: dict[str, Any] = {"channel": "kept:a", "limit": limit, "reverse": reverse}
            if since is not None:
                request["since"] = {"offset": since, "epoch": epoch if named else ""}
            client.backplane.messages_read = 0
            reply = client.call(history=request)
            offsets = expected(since, limit, reverse)
            if offsets is None:
                assert reply["error"]["code"] == 112
                continue
            result = reply["history"]
            assert (result["epoch"], result["offset"]) == (epoch, LAST)
            pubs = result.get("publications", [])
            assert [each["offset"] for each in pubs] == offsets
            assert [each["data"] for each in pubs] == offsets
            assert client.backplane.messages_read <= (LAST if limit < 0 else limit)


def test_history_that_is_too_large_is_not_read_to_its_end() -> None:
    """The error comes as soon as it is known that the reply is too large."""
    client = Client(keep=Keep(2000))
    for _ in range(2000):
        client.hub.topic("kept:a").on_next("x" * 2000)
    client.virtual.settle()
    reply = client.call(history={"channel": "kept:a", "limit": -1})
    assert reply["error"]["code"] == 106
    assert client.backplane.messages_read < 1000


def test_messages_are_trimmed_while_history_is_read() -> None:
    """The reply has no hole: it lacks what came before the hole."""
    client = client_of_a_long_topic()
    client.backplane.holding.add("read")
    client.send(history={"channel": "kept:a", "limit": -1})
    pages = 0
    while held := client.backplane.held:
        client.backplane.held = []
        if pages == 2:  # the newest position and the first page are known
            for n in range(LAST + 1, LAST + 401):
                client.hub.topic("kept:a").on_next(n)
            client.virtual.settle()
        for each in held:
            each()
        client.virtual.settle()
        pages += 1
    [reply] = client.lines()
    pubs = [each["offset"] for each in reply["history"]["publications"]]
    assert pubs == list(range(FIRST + 400, LAST + 1))
    assert reply["history"]["offset"] == LAST


@pytest.mark.parametrize("since", [None, FIRST])
def test_positions_begin_anew_while_history_is_read(since: int | None) -> None:
    """The reply has what is kept now; a position of the former order is unrecoverable."""
    client = client_of_a_long_topic()
    epoch = client.call(history={"channel": "kept:a"})["history"]["epoch"]
    client.backplane.holding.add("read")
    request: dict[str, Any] = {"channel": "kept:a", "limit": 500}
    if since is not None:
        request["since"] = {"offset": since, "epoch": epoch}
    client.send(history=request)
    client.backplane.held.pop()()
    client.virtual.settle()
    client.backplane.restart()
    client.hub.topic("kept:a").on_next("new")
    client.virtual.settle()
    client.backplane.release()
    [reply] = client.lines()
    if since is not None:
        assert reply["error"]["code"] == 112
    else:
        assert [each["data"] for each in reply["history"]["publications"]] == ["new"]


def test_history_that_fails_in_its_midst_is_a_temporary_error() -> None:
    """Nothing of it is sent."""
    client = client_of_a_long_topic()
    client.backplane.holding.add("read")
    client.send(history={"channel": "kept:a", "limit": -1})
    client.backplane.errors["read"] = BackplaneError("away")
    client.backplane.release()
    [reply] = client.lines()
    assert (reply["error"]["code"], reply["error"]["temporary"]) == (100, True)
