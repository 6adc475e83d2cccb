"""The options that all commands with a connection share."""

from __future__ import annotations

import os
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


@pytest.mark.parametrize(
    ("url", "variables", "proxy"),
    [
        ("wss://a.example", {"HTTPS_PROXY": "http://p:3128"}, "http://p:3128"),
        ("wss://a.example", {"https_proxy": "ann:secret@p:3128"}, "http://ann:secret@p:3128"),
        ("wss://a.example", {"HTTPS_PROXY": "p:1", "WSS_PROXY": "p:2"}, "http://p:2"),
        ("ws://a.example", {"HTTPS_PROXY": "p:1", "HTTP_PROXY": "p:2"}, None),
        ("wss://a.example", {"HTTP_PROXY": "p:2"}, None),
        ("wss://a.example", {"HTTPS_PROXY": ""}, None),
        ("wss://a.example", {"HTTPS_PROXY": "p:1", "NO_PROXY": "b.example,.example"}, None),
        ("wss://a.example:8443", {"HTTPS_PROXY": "p:1", "NO_PROXY": "a.example:8443"}, None),
        ("wss://[::1]/", {"HTTPS_PROXY": "p:1", "NO_PROXY": "::1"}, None),
        ("wss://a.example", {"HTTPS_PROXY": "p:1", "NO_PROXY": "b.example"}, "http://p:1"),
    ],
)
def test_the_proxy_of_the_environment_is_used_for_wss(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], proxy: str | None
) -> None:
    """HTTPS_PROXY and NO_PROXY mean what they mean for curl; without TLS, there is no tunnel."""
    set_proxies(monkeypatch, variables)
    assert parse(url).options.get("proxy") == proxy


def set_proxies(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_the_option_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--proxy` is used even for a host that NO_PROXY names."""
    set_proxies(monkeypatch, {"HTTPS_PROXY": "p:1", "NO_PROXY": "*"})
    assert parse("wss://a.example", "--proxy", "p:2").options.get("proxy") == "http://p:2"


def test_a_proxy_of_the_environment_that_cannot_be_used_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is not passed over: the connection must not leave by another way."""
    set_proxies(monkeypatch, {"HTTPS_PROXY": "socks5://p"})
    result = CliRunner().invoke(click.command()(connection_options(print)), ["wss://a.example"])
    assert result.exit_code == 2
    assert "HTTPS_PROXY='socks5://p': use an HTTP proxy, such as" in result.stderr


def test_a_missing_password_is_asked_for() -> None:
    """`--auth ann` asks for the password, so that it is not in the shell's history."""
    target = parse("ws://x", "--auth", "ann", stdin="secret\n")
    assert target.options.get("headers") == {"Authorization": encode_basic_auth("ann", "secret")}


def test_insecure_accepts_any_certificate() -> None:
    """`-k` checks neither the certificate nor the name."""
    context = parse("wss://x", "-k").options.get("ssl")
    assert isinstance(context, ssl.SSLContext)
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)
