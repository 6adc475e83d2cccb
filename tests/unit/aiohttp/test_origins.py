"""The Origin check, without a server."""

from __future__ import annotations

import re
from typing import Any

import pytest

from rxws._aiohttp.origins import SAME_HOST, is_allowed, parse_origins


def passes_same_host(origin: str, host: str | None) -> bool:
    return is_allowed([origin], host, SAME_HOST)


def passes_list(origin: str, *allowed: str) -> bool:
    return is_allowed([origin], "irrelevant.example", parse_origins(allowed))


@pytest.mark.parametrize("allowed", [None, "*", ["https://example.org"]])
def test_a_request_without_origin_passes(allowed: list[str] | str | None) -> None:
    """A request without an Origin header passes, as it cannot come from a web page."""
    assert is_allowed([], "example.org", parse_origins(allowed))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://example.org", "example.org"),
        ("http://example.org", "example.org"),
        ("https://example.org", "example.org:443"),  # a missing port is the scheme's default
        ("https://example.org:443", "example.org"),
        ("http://example.org:80", "example.org"),
        ("http://example.org:8080", "example.org:8080"),
        ("HTTPS://Example.ORG", "example.org"),
        ("https://example.org", "EXAMPLE.org"),
        ("http://127.0.0.1:8765", "127.0.0.1:8765"),
        ("http://[::1]:8765", "[::1]:8765"),
    ],
)
def test_the_same_host_and_port_pass(origin: str, host: str) -> None:
    """The same host and port pass, even if a TLS proxy changed the scheme."""
    assert passes_same_host(origin, host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "example.org"),
        ("", "example.org"),
        ("https://evil.example", "example.org"),
        ("https://example.org.evil", "example.org"),
        ("https://evilexample.org", "example.org"),
        ("https://sub.example.org", "example.org"),
        ("https://example.org:8443", "example.org"),
        ("https://example.org", "example.org:80"),  # 443 against 80
        ("http://example.org", "example.org:8080"),
        ("https://example.org@evil.example", "example.org"),
        ("https://user@example.org", "example.org"),
        ("https://example.org/path", "example.org"),
        ("https://example.org?query", "example.org"),
        ("https://example.org#fragment", "example.org"),
        ("https://example.org:", "example.org"),
        ("https://example.org:99999", "example.org"),
        ("https://example.org:x", "example.org"),
        ("https://[::1", "example.org"),
        ("example.org", "example.org"),
        ("https://", "example.org"),
        ("https://example.org", ""),
        ("https://example.org", "example.org@evil.example"),
        ("https://example.org", "example.org/path"),
    ],
)
def test_any_other_host_port_or_form_does_not_pass(origin: str, host: str) -> None:
    """Another host, another port, a similar name and an invalid origin do not pass."""
    assert not passes_same_host(origin, host)


def test_without_a_host_header_no_origin_passes() -> None:
    """Without a Host header no origin passes."""
    assert not passes_same_host("https://example.org", None)
    assert not passes_same_host("https://none", None)


def test_several_origins_do_not_pass() -> None:
    """Two Origin headers do not pass, as a browser sends one (RFC 6454, section 7.3)."""
    assert not is_allowed(["https://example.org", "https://evil.example"], "example.org", SAME_HOST)
    assert not is_allowed(["https://a.example"] * 2, "x", parse_origins(["https://a.example"]))


def test_a_list_is_compared_by_scheme_host_and_port() -> None:
    """Listed origins are compared by scheme, host and port, with the scheme's default port."""
    assert passes_list("https://a.example", "https://a.example", "http://b.example:81")
    assert passes_list("https://a.example:443", "https://a.example")
    assert passes_list("https://A.example", "https://a.EXAMPLE")
    assert passes_list("http://b.example:81", "https://a.example", "http://b.example:81")
    assert not passes_list("http://a.example", "https://a.example")
    assert not passes_list("https://a.example:444", "https://a.example")
    assert not passes_list("https://b.example", "https://a.example")
    assert not passes_list("null", "https://a.example")
    assert not passes_list("https://irrelevant.example", "https://a.example"), (
        "the Host header does not matter"
    )


def test_a_star_allows_every_origin() -> None:
    """ "*" allows every origin, also "null"."""
    assert is_allowed(["https://evil.example"], "example.org", parse_origins("*"))
    assert is_allowed(["null"], None, parse_origins("*"))


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        ("https://a.example.com", True),
        ("https://a.b.example.com", True),
        ("https://A.Example.COM", True),
        ("https://a.example.com:443", True),
        ("https://example.com", False),  # not a subdomain
        ("https://evilexample.com", False),
        ("https://a.example.com.evil", False),
        ("https://.example.com", False),
        ("https://*.example.com", False),
        ("http://a.example.com", False),
        ("https://a.example.com:8443", False),
        ("https://evil.example/.example.com", False),
        ("https://evil.example#.example.com", False),
        ("https://evil.example\\.example.com", False),
        ("https://evil.example%2f.example.com", False),
        ("https://user@a.example.com", False),
        ("null", False),
        ("file://", False),
    ],
)
def test_a_wildcard_matches_all_subdomains(origin: str, passes: bool) -> None:
    """`https://*.example.com` matches subdomains of any depth, with its scheme and port only."""
    assert passes_list(origin, "https://other.example", "https://*.EXAMPLE.com") is passes


def test_a_wildcard_may_have_a_port_and_any_scheme() -> None:
    """A wildcard may have a port, and a scheme other than http."""
    assert passes_list("http://a.example:81", "http://*.example:81")
    assert not passes_list("http://a.example", "http://*.example:81")
    assert passes_list("app://a.example", "app://*.example")
    assert passes_list("http://a.localhost:3000", "http://*.localhost:3000")


def test_null_and_file_can_be_listed() -> None:
    """`null` and `file://`, the origins of local files, can be listed, and match only themselves.

    Without being listed, they do not pass, whatever the host is.
    """
    for origin, other in [("null", "file://"), ("file://", "null")]:
        assert passes_list(origin, "https://a.example", origin)
        assert not passes_list(other, origin)
        assert not passes_list("https://a.example", origin)
        for host in ["", "null", "file", "example.org"]:
            assert not passes_same_host(origin, host)


@pytest.mark.parametrize(
    ("entry", "origin"),
    [
        ("http://[0:0:0:0:0:0:0:1]:80", "http://[::1]"),
        ("http://[::FFFF:1.2.3.4]", "http://[::ffff:102:304]"),
        ("HTTP://127.0.0.1:080", "http://127.0.0.1"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("https://a_b.example", "https://a_b.example"),
        ("https://example.org.", "https://example.org."),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_entry_matches_the_form_that_a_browser_sends(entry: str, origin: str) -> None:
    """An entry in another form than a browser sends matches nevertheless."""
    assert passes_list(origin, entry)


@pytest.mark.parametrize(
    "entry",
    [
        "https://*",
        "https://*.",
        "https://*.*.example.com",
        "https://a.*.example.com",
        "https://*a.example.com",
        "https://*.127.0.0.1",
        "https://*.[::1]",
        "*://example.com",
        "http*://example.com",
        "*.example.com",
        ".example.com",
        "https://.example.com",
        "https://a..example.com",
        "https://example.com:*",
        "https://example.com:0",
        "https://example.com:65536",
        "https://example.com:",
        "https://user@example.com",
        "https://example.com/",
        "https://example.com/*",
        "https://example.com?",
        "https://exam ple.com",
        "https://exam\nple.com",
        "https://example.com ",
        "https://ex%61mple.com",
        "https://127.1",
        "https://127.0.0.01",
        "https://0x7f.0.0.1",
        "https://1.2.3.4.5",
        "https://[::1",
        "https://[fe80::1%eth0]",
        "https:example.com",
        "https:///example.com",
        "file:///",
        "file://*.",
        "null://*.",
        "NULL",
        "",
        "localhost",
        "localhost:8080",
        "about:blank",
        "data:",
        "ws://example.com",
        "wss://*.example.com",
        "https://bücher.example",
    ],
)
def test_an_entry_that_can_never_match_is_refused(entry: str) -> None:
    """An entry that no browser sends raises a ValueError that shows it and a form to use."""
    with pytest.raises(ValueError, match=re.escape(f"origins has {entry!r}: ") + "use|http"):
        parse_origins(["https://a.example", entry])


@pytest.mark.parametrize("entry", [b"https://example.org", None, 7])
def test_an_entry_that_is_no_str_is_refused(entry: Any) -> None:
    """An entry that is no str raises a TypeError that shows it."""
    with pytest.raises(TypeError, match=re.escape(f"origins has {entry!r}: use a str")):
        parse_origins([entry])


def test_an_unknown_scheme_has_no_default_port() -> None:
    """An unknown scheme has no default port."""
    assert passes_list("app://a.example", "app://a.example")
    assert not passes_list("app://a.example:1", "app://a.example")


@pytest.mark.parametrize(
    ("origins", "hint"),
    [
        ("https://example.org", r"use a list, \['https://example.org'\]"),
        (["example.org"], "'example.org': use 'https://example.org'"),
        (["https://example.org/"], "use 'https://example.org'"),
        (["https://good.example", "*"], r"'\*': .*origins='\*' for any page"),
        (["wss://example.org"], "scheme http or https, so use 'https://example.org'"),
        (["ws://*.example.org:81"], r"so use 'http://\*.example.org:81'"),
        (["https://bücher.example"], "'https://xn--bcher-kva.example'"),
        (["*"], "use 'https://example.org'"),
        ([], "omit it for the same host"),
    ],
)
def test_an_invalid_list_of_origins_is_refused(origins: str | list[str], hint: str) -> None:
    """An invalid list of origins raises a ValueError that says what to write."""
    with pytest.raises(ValueError, match=hint):
        parse_origins(origins)
