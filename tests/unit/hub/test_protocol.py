"""The protocol of hubs, as pure data."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxws.hub._protocol import codes, frames, schema
from rxws.hub._protocol.codes import Disconnect, ErrorCode, ErrorReply, UnsubscribeCode
from rxws.hub._protocol.frames import Command, Ping, Pong, ProtocolViolation, Push, Refused, Reply
from rxws.hub._protocol.schema import (
    ClientInfo,
    ConnectRequest,
    ConnectResult,
    HistoryRequest,
    HistoryResult,
    JoinPush,
    LeavePush,
    PingRequest,
    PresenceResult,
    PresenceStatsResult,
    Pub,
    PublishRequest,
    PublishResult,
    RefreshPush,
    RefreshResult,
    StreamPosition,
    SubRefreshResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribePush,
    UnsubscribeRequest,
    UnsubscribeResult,
)

_COMMANDS: list[Any] = [
    ConnectRequest("secret", {"a": 1}, "js", "5"),
    ConnectRequest(),
    SubscribeRequest("room", recover=True, epoch="e", offset=7, join_leave=True, flag=3),
    UnsubscribeRequest("room"),
    PublishRequest("room", {"text": "hi"}),
    PublishRequest("room", None),
    schema.PresenceRequest("room"),
    schema.PresenceStatsRequest("room"),
    HistoryRequest("room", -1, StreamPosition(5, "e"), True),
    schema.RefreshRequest("new"),
    schema.SubRefreshRequest("room", "new"),
    PingRequest(),
]

_RESULTS: list[Any] = [
    ConnectResult("c1", "rxws", True, 60, 25, True),
    SubscribeResult(True, 9, True, "e", (Pub({"a": 1}, 3), Pub("b", 4)), True, 2, True, True),
    UnsubscribeResult(),
    PublishResult(),
    PresenceResult({"c1": ClientInfo("c1", "ann", {"age": 3})}),
    PresenceStatsResult(2, 1),
    HistoryResult((Pub(1, 1, ClientInfo("c", "u")),), "e", 1),
    RefreshResult("c1", "", True, 5),
    SubRefreshResult(True, 5),
    schema.PingResult(),
]

_PUSHES: list[Any] = [
    Pub([1, 2], 3),
    JoinPush(ClientInfo("c1", "ann")),
    LeavePush(ClientInfo("c1", "ann")),
    UnsubscribePush(2500, "insufficient state"),
    schema.DisconnectPush(3001, "shutdown", True),
    RefreshPush(True, 10),
]


@pytest.mark.parametrize("request_", _COMMANDS, ids=lambda one: type(one).__name__)
def test_a_command_that_is_built_is_parsed_to_the_same(request_: Any) -> None:
    """A client's commands arrive as they were built."""
    assert list(frames.parse_commands(frames.command(4, request_))) == [Command(4, request_)]


@pytest.mark.parametrize("result", _RESULTS, ids=lambda one: type(one).__name__)
def test_a_reply_that_is_built_is_parsed_to_the_same(result: Any) -> None:
    """A server's replies arrive as they were built."""
    assert list(frames.parse_replies(frames.reply(4, result))) == [Reply(4, result)]


@pytest.mark.parametrize("body", _PUSHES, ids=lambda one: type(one).__name__)
def test_a_push_that_is_built_is_parsed_to_the_same(body: Any) -> None:
    """A server's pushes arrive as they were built."""
    assert list(frames.parse_replies(frames.push("room", body))) == [Push("room", body)]


def test_a_frame_holds_several_lines() -> None:
    """A frame with several lines, with or without a newline at its end, is several messages."""
    lines = [frames.command(1, ConnectRequest()), "{}", frames.command(2, PingRequest())]
    expected = [Command(1, ConnectRequest()), Pong(), Command(2, PingRequest())]
    assert list(frames.parse_commands("\n".join(lines))) == expected
    assert list(frames.parse_commands("\n".join(lines) + "\n")) == expected


def test_publications_are_embedded_as_they_are() -> None:
    """The payload of a message is not encoded again, neither in a push nor in a reply."""
    data = '{"price":1.50}'
    pub = frames.publication(data, 7)
    pushed = frames.publication_push("ch", pub)
    assert data in pushed
    assert list(frames.parse_replies(pushed)) == [Push("ch", Pub({"price": 1.5}, 7))]
    for kind in (SubscribeResult, HistoryResult):
        for result in (kind(), kind(epoch="e")):
            text = frames.reply_with_publications(3, result, [pub, frames.publication("1")])
            pubs = (Pub({"price": 1.5}, 7), Pub(1))
            expected = result._replace(publications=pubs)
            assert list(frames.parse_replies(text)) == [Reply(3, expected)]
            assert frames.reply_with_publications(3, result, []) == frames.reply(3, result)


def test_json_with_newlines_is_embedded_in_one_line() -> None:
    """A payload with newlines between its tokens does not end the message."""
    text = json.dumps({"a": ["\n", 1]}, indent=2)
    line = frames.publication_push("ch", frames.publication(frames.embed(text)))
    assert list(frames.parse_replies(line)) == [Push("ch", Pub({"a": ["\n", 1]}))]
    assert frames.embed("[1]") == "[1]"


def test_an_error_is_built_from_its_code() -> None:
    """An error carries its code, its message and whether the client may try again."""
    error = ErrorReply.of(ErrorCode.INTERNAL)
    assert error == ErrorReply(100, "internal server error", True)
    assert ErrorReply.of(ErrorCode.PERMISSION_DENIED, "room") == ErrorReply(
        103, "permission denied: room"
    )
    assert list(frames.parse_replies(frames.error_reply(4, error))) == [Reply(4, error=error)]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"id":1}', 104),
        ('{"id":1,"connect":null}', 104),
        ('{"id":1,"teleport":{}}', 104),
        ('{"id":1,"rpc":{"method":"add"}}', 108),
        ('{"id":1,"send":{"data":1}}', 108),
        ('{"id":1,"connect":{},"subscribe":{"channel":"a"}}', 107),
        ('{"id":1,"connect":[]}', 107),
        ('{"id":1,"connect":{"token":5}}', 107),
        ('{"id":1,"subscribe":{}}', 107),
        ('{"id":1,"subscribe":{"channel":5}}', 107),
        ('{"id":1,"subscribe":{"channel":"a","recover":"yes"}}', 107),
        ('{"id":1,"subscribe":{"channel":"a","offset":-1}}', 107),
        ('{"id":1,"subscribe":{"channel":"a","offset":true}}', 107),
        ('{"id":1,"subscribe":{"channel":"a","offset":18446744073709551616}}', 107),
        ('{"id":1,"publish":{"channel":"a"}}', 107),
        ('{"id":1,"history":{"channel":"a","limit":2147483648}}', 107),
        ('{"id":1,"history":{"channel":"a","limit":1.5}}', 107),
        ('{"id":1,"history":{"channel":"a","since":5}}', 107),
        ('{"id":1,"history":{"channel":"a","since":{"offset":"5"}}}', 107),
    ],
)
def test_a_command_that_cannot_be_used_is_answered(line: str, code: int) -> None:
    """A command with an id that is unknown or has a wrong field is answered with an error."""
    [refused] = frames.parse_commands(line)
    assert isinstance(refused, Refused)
    assert (refused.id, refused.error.code) == (1, code)
    assert refused.error.message


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"\x08\x01", 3501),
        ("", 3501),
        ("\n", 3501),
        ("not json", 3501),
        ("[]", 3501),
        ("5", 3501),
        ("null", 3501),
        ('{"id":NaN,"connect":{}}', 3501),
        ('{"connect":{}}', 3501),
        ('{"id":0,"connect":{}}', 3501),
        ('{"id":-1,"connect":{}}', 3501),
        ('{"id":4294967296,"connect":{}}', 3501),
        ('{"id":"1","connect":{}}', 3501),
        ('{"id":true,"connect":{}}', 3501),
        ('{"id":1,"subscribe":{"channel":"\\ud800"}}', 3501),
        ("[" * 100_000, 3501),
        ('{"id":1,"connect":{"data":' + "[" * 100_000 + "]" * 100_000 + "}}", 3501),
        ('{"send":{"data":1}}', 3508),
        ("{}\n{}\n{}\n{}", 3013),
    ],
    ids=range(19),
)
def test_a_frame_that_is_none_of_the_protocol_ends_the_connection(
    frame: str | bytes, code: int
) -> None:
    """What cannot be answered closes the connection with the protocol's own code."""
    with pytest.raises(ProtocolViolation) as caught:
        list(frames.parse_commands(frame, max_commands=3))
    assert caught.value.close.code == code
    assert caught.value.close.reason


def test_commands_before_a_wrong_line_are_parsed() -> None:
    """A client that sends a wrong line after good ones has those executed."""
    parsed = frames.parse_commands('{"id":1,"connect":{}}\nwrong')
    assert next(parsed) == Command(1, ConnectRequest())
    with pytest.raises(ProtocolViolation):
        next(parsed)


def test_fields_that_are_newer_are_ignored() -> None:
    """A client of a newer version may send fields that the subset does not have."""
    line = '{"id":1,"connect":{"token":"a","headers":{"x":"y"},"dict":"z"},"newer":null}'
    assert list(frames.parse_commands(line)) == [Command(1, ConnectRequest("a"))]


@pytest.mark.parametrize(
    "line",
    [
        '{"id":-1}',
        '{"id":"1"}',
        '{"id":1}',
        '{"id":1,"connect":{"ttl":"5"}}',
        '{"id":1,"error":{"message":"no code"}}',
        '{"id":1,"history":{"publications":5}}',
        '{"id":1,"presence":{"presence":[]}}',
        '{"push":5}',
        '{"push":{"channel":5,"pub":{}}}',
        '{"push":{"channel":"a","join":{}}}',
        "[]",
    ],
)
def test_a_client_refuses_what_is_no_reply(line: str) -> None:
    """A client closes a connection whose server does not speak the protocol."""
    with pytest.raises(ProtocolViolation):
        list(frames.parse_replies(line))


def test_a_client_knows_pings_and_ignores_unknown_pushes() -> None:
    """An empty object is a ping; a push of a newer kind has no body."""
    frame = '{}\n{"push":{"channel":"a","newer":{}}}'
    assert list(frames.parse_replies(frame)) == [Ping(), Push("a", None)]


def test_the_codes_say_what_a_client_does_next() -> None:
    """3500 to 3999 and 4500 to 4999 are final; subscriptions continue after 2500 and above."""
    assert [codes.is_terminal(code) for code in (3000, 3499, 3500, 3999, 4000, 4500)] == [
        False, False, True, True, False, True,
    ]  # fmt: skip
    assert not codes.is_terminal(5000)
    assert [codes.resubscribes(code) for code in UnsubscribeCode] == [False, True, True]
    assert all(code.reason for code in UnsubscribeCode)


@given(st.sampled_from(Disconnect), st.text())
def test_the_reason_of_a_close_fits(code: Disconnect, detail: str) -> None:
    """A close has its code, and a reason that fits into a close frame."""
    close = code.close(detail)
    assert close.code == code
    assert close.reason


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)
_WORDS = st.sampled_from(
    ["id", *schema.REQUESTS, "rpc", "send", *SubscribeRequest._fields, "since"]
)


@given(st.dictionaries(_WORDS, st.dictionaries(_WORDS, _JSON) | _JSON) | _JSON)
def test_any_json_is_parsed_or_refused(value: Any) -> None:
    """Whatever a client sends is a command, is answered, or is a violation; nothing else."""
    parsed: list[Any] = []
    with contextlib.suppress(ProtocolViolation):
        parsed += frames.parse_commands(json.dumps(value))
    assert all(isinstance(one, Command | Refused | Pong) for one in parsed)
