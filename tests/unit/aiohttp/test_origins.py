"""The Origin check, without a server."""

from __future__ import annotations

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
        (["null"], "use 'https://example.org'"),
        (["*"], "use 'https://example.org'"),
        ([], "omit it for the same host"),
    ],
)
def test_an_invalid_list_of_origins_is_refused(origins: str | list[str], hint: str) -> None:
    """An invalid list of origins raises a ValueError that says what to write."""
    with pytest.raises(ValueError, match=hint):
        parse_origins(origins)
