"""Which web pages may connect: the policy alone."""

from __future__ import annotations

import pytest

from rxws._aiohttp.origins import SAME_HOST, is_allowed, parse_origins


def same_host(origin: str, host: str | None) -> bool:
    return is_allowed([origin], host, SAME_HOST)


def listed(origin: str, *allowed: str) -> bool:
    return is_allowed([origin], "irrelevant.example", parse_origins(allowed))


@pytest.mark.parametrize("allowed", [None, "*", ["https://example.org"]])
def test_who_is_no_browser_passes(allowed: list[str] | str | None) -> None:
    """A request without Origin cannot come from a page."""
    assert is_allowed([], "example.org", parse_origins(allowed))


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("https://example.org", "example.org"),
        ("http://example.org", "example.org"),
        ("https://example.org", "example.org:443"),  # each side's missing port is filled in
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
    """The scheme may differ: a TLS proxy in front is no obstacle."""
    assert same_host(origin, host)


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
    """Also what only looks like it, and what is no origin at all."""
    assert not same_host(origin, host)


def test_without_a_host_header_no_page_passes() -> None:
    """There is nothing that its origin could be equal to."""
    assert not same_host("https://example.org", None)
    assert not same_host("https://none", None)


def test_several_origins_do_not_pass() -> None:
    """A browser sends one (RFC 6454, section 7.3); whoever sends two wants one to be overlooked."""
    assert not is_allowed(["https://example.org", "https://evil.example"], "example.org", SAME_HOST)
    assert not is_allowed(["https://a.example"] * 2, "x", parse_origins(["https://a.example"]))


def test_a_list_is_exact() -> None:
    """Scheme, host and port, a missing port being that of the scheme."""
    assert listed("https://a.example", "https://a.example", "http://b.example:81")
    assert listed("https://a.example:443", "https://a.example")
    assert listed("https://A.example", "https://a.EXAMPLE")
    assert listed("http://b.example:81", "https://a.example", "http://b.example:81")
    assert not listed("http://a.example", "https://a.example")
    assert not listed("https://a.example:444", "https://a.example")
    assert not listed("https://b.example", "https://a.example")
    assert not listed("null", "https://a.example")
    assert not listed("https://irrelevant.example", "https://a.example"), "the host has no say"


def test_a_star_lets_every_page_in() -> None:
    """Even those that have no name."""
    assert is_allowed(["https://evil.example"], "example.org", parse_origins("*"))
    assert is_allowed(["null"], None, parse_origins("*"))


def test_an_unknown_scheme_has_no_port_to_fill_in() -> None:
    """It is compared as it is."""
    assert listed("app://a.example", "app://a.example")
    assert not listed("app://a.example:1", "app://a.example")


@pytest.mark.parametrize(
    ("origins", "remedy"),
    [
        ("https://example.org", r"use a list, \['https://example.org'\]"),
        (["example.org"], "'example.org': write it as 'https://example.org'"),
        (["https://example.org/"], "write it as"),
        (["null"], "write it as"),
        (["*"], "write it as"),
        ([], "omit it for the same host"),
    ],
)
def test_what_is_no_list_of_origins_is_refused(origins: str | list[str], remedy: str) -> None:
    """With the remedy, when the server is made."""
    with pytest.raises(ValueError, match=remedy):
        parse_origins(origins)
