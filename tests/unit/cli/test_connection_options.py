"""The options that all commands with a connection share."""

from __future__ import annotations

import ssl
from typing import Any

import click
import pytest
from aiohttp import encode_basic_auth
from click.testing import CliRunner

from rxws.cli._connection import Target, connection_options


def parse(*args: str, stdin: str = "") -> Target:
    """Return the target that a command gets."""
    targets: list[Target] = []

    @click.command()
    @connection_options
    def command(target: Target) -> None:
        targets.append(target)

    result = CliRunner().invoke(command, args, input=stdin)
    assert result.exit_code == 0, result.output
    return targets[0]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ws://a.example/x?y=1", "ws://a.example/x?y=1"),
        ("wss://a.example", "wss://a.example"),
        ("localhost:8080/chat", "ws://localhost:8080/chat"),
        ("ws:8080/chat", "ws://ws:8080/chat"),
        (":8080/chat", "ws://localhost:8080/chat"),
        ("http://a.example", "ws://a.example"),
        ("https://a.example", "wss://a.example"),
        ("ws://a.example/x#part", "ws://a.example/x"),
    ],
)
def test_an_address_is_completed(text: str, url: str) -> None:
    """An address without a scheme is `ws://`, without a host is this machine."""
    assert str(parse(text).url) == url


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["ftp://x"], "'ftp://x': use ws:// or wss://."),
        (["ws://"], "'ws://' has no host"),
        (["ws://a:b:c"], "'ws://a:b:c' is not a URL"),
        (["ws://x", "-H", "colon"], "'colon' is not a header: use 'Name: value'."),
        (["ws://x", "-H", "A: b\r\nC: d"], "is not a header"),
        (["ws://x", "-H", "Two Words: b"], "is not a header"),
        (["ws://x", "-H", "A: b\x00"], "is not a header"),
        (["ws:/x"], "'ws:/x': two slashes must follow the scheme"),
        (["https:x"], "'https:x': two slashes must follow the scheme"),
        (["ws://a b/"], "'ws://a b/' contains a space"),
        (["ws://x", "-s", "a b"], "'a b' is not a subprotocol"),
        (["ws://x", "--origin", "a\r\nb: c"], "contains a control character"),
        (["wss://x", "--proxy", "socks5://x"], "'socks5://x': use an HTTP proxy"),
        (["wss://x", "--proxy", "a:b:c"], "'a:b:c' is not a URL"),
        (["ws://x", "--proxy", "p:1"], "--proxy=http://p:1 needs a wss:// URL, not 'ws://x'"),
        (["ws://x", "--open-timeout", "0"], "0 is not in the range"),
        (["ws://x", "--open-timeout", "nan"], "'nan' is not a finite number"),
        (["ws://x", "--heartbeat", "inf"], "'inf' is not a finite number"),
        (["ws://x", "--ca", "missing.pem"], "'missing.pem' does not exist"),
        (["ws://x", "--key", __file__], "needs --cert"),
        (["ws://x", "--ca", __file__], "not a PEM file that can be used"),
    ],
)
def test_a_wrong_value_is_named(args: list[str], message: str) -> None:
    """The message says which value is wrong, and what to use."""
    result = CliRunner().invoke(click.command()(connection_options(print)), args)
    assert message in result.stderr
    assert isinstance(result.exception, SystemExit)


def test_options_become_those_of_connect() -> None:
    """Each option sets the option of `rxws.connect` of the same meaning."""
    target = parse(
        *("wss://x", "-H", "X-One: 1", "-H", "x-one:2", "-s", "chat", "-s", "old"),
        *("--auth", "ann:pä:ss", "--origin", "https://a", "--proxy", "p:3128"),
        *("--open-timeout", "1", "--heartbeat", "0", "--max-size", "5", "--no-compress"),
    )
    options: dict[str, Any] = {**target.options}
    headers = options.pop("headers")
    assert headers.getall("X-One") == ["1", "2"]
    assert headers["Authorization"] == encode_basic_auth("ann", "pä:ss", "utf-8")
    assert options == {
        "protocols": ("chat", "old"),
        "origin": "https://a",
        "proxy": "http://p:3128",
        "open_timeout": 1.0,
        "heartbeat": None,
        "max_message_size": 5,
        "compress": False,
    }


def test_a_missing_password_is_asked_for() -> None:
    """`--auth ann` asks for the password, so that it is not in the shell's history."""
    target = parse("ws://x", "--auth", "ann", stdin="secret\n")
    assert target.options.get("headers") == {"Authorization": encode_basic_auth("ann", "secret")}


def test_insecure_accepts_any_certificate() -> None:
    """`-k` checks neither the certificate nor the name."""
    context = parse("wss://x", "-k").options.get("ssl")
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)
