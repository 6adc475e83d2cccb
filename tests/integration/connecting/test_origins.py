"""The `Origin` check runs before the upgrade; the handler of a refused request never runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from aiohttp import web

import rxws
from support.fixtures import Dial, Serve
from support.peers.endpoints import AnyConnection

SAME = [
    ("http://example.org", "example.org"),
    ("http://example.org:80", "example.org"),
    ("http://example.org", "example.org:80"),
    ("http://example.org:8080", "example.org:8080"),
    ("https://example.org", "example.org"),  # a proxy ended TLS; the request has no scheme
    ("https://example.org:443", "example.org"),
    ("https://example.org", "example.org:443"),
    ("http://EXAMPLE.org", "example.ORG"),
    ("http://[::1]:8080", "[::1]:8080"),
    ("http://[::1]", "[::1]"),
]
OTHER = [
    ("http://foreign.example", "example.org"),
    ("https://example.org", "example.org:80"),
    ("http://example.org", "example.org:443"),
    ("http://example.org:81", "example.org"),
    ("http://example.org", "example.org:81"),
    ("http://example.org.evil", "example.org"),
    ("http://notexample.org", "example.org"),
    ("http://www.example.org", "example.org"),
    ("http://example.org@evil", "example.org"),
    ("http://evil@example.org", "example.org"),
    ("http://example.org/path", "example.org"),
    ("http://example.org:nonsense", "example.org"),
    ("http://example.org:99999", "example.org"),
    ("http://[::1", "[::1"),
    ("null", "example.org"),
    ("null", "null"),
    ("", "example.org"),
    ("example.org", "example.org"),
    ("http://", "example.org"),
    ("file://", "example.org"),
    ("garbage", "example.org"),
]
LISTED = ["https://good.example", "http://good.example:8080"]


class OriginProbe:
    """Sends requests to a route and checks whether its handler runs."""

    def __init__(self, serve: Serve, dial: Dial) -> None:
        self.ran = 0
        self._serve = serve
        self._dial = dial

    def _handler(self, conn: AnyConnection) -> None:
        self.ran += 1
        conn.outgoing.on_completed()

    async def status(self, origin: str | None, host: str | None = None, **options: Any) -> int:
        """Send a request with these headers; return the response's status."""

        async def route(request: web.Request) -> web.StreamResponse:
            return await rxws.upgrade(request, self._handler, **options)

        statuses: list[int] = []
        for handler in (rxws.websocket(self._handler, **options), route):
            app = web.Application()
            app.router.add_get("/", handler)
            rxws.setup(app)
            port = await self._serve(app)
            self.ran = 0
            host_header = {"Host": host} if host else {}
            client = await self._dial(port, headers={**host_header, "Origin": origin})
            status = client.head.status
            if status == 101:
                await client.answer_close()
                await client.until_ended()
            assert self.ran == (status == 101)
            statuses.append(status)
        assert statuses[0] == statuses[1]
        return statuses[0]


@pytest.fixture
def probe(serve: Serve, raw_client: Dial) -> OriginProbe:
    return OriginProbe(serve, raw_client)


@pytest.mark.parametrize("options", [{}, {"origins": LISTED}, {"origins": "*"}])
async def test_a_request_without_an_origin_is_accepted(
    probe: OriginProbe, options: dict[str, Any]
) -> None:
    """A request without an Origin is accepted, whatever `origins` is; browsers always send one."""
    assert await probe.status(None, **options) == 101


@pytest.mark.parametrize(("origin", "host"), SAME)
async def test_the_same_host_is_accepted(probe: OriginProbe, origin: str, host: str) -> None:
    """By default an Origin with the host and port of `Host` is accepted."""
    assert await probe.status(origin, host) == 101


@pytest.mark.promise("origin")
@pytest.mark.parametrize(("origin", "host"), OTHER)
async def test_any_other_host_is_refused(probe: OriginProbe, origin: str, host: str) -> None:
    """By default any other Origin gets 403, and the handler does not run."""
    assert await probe.status(origin, host) == 403


@pytest.mark.parametrize("origin", LISTED)
@pytest.mark.parametrize("origins", [LISTED, tuple(LISTED), frozenset(LISTED)])
async def test_a_listed_origin_is_accepted(
    probe: OriginProbe, origin: str, origins: Iterable[str]
) -> None:
    """A listed Origin is accepted, whatever the `Host`."""
    assert await probe.status(origin, "example.org", origins=origins) == 101


@pytest.mark.parametrize(
    "origin",
    [
        "http://good.example",
        "https://good.example:8443",
        "https://good.example.evil",
        "https://sub.good.example",
        "https://example.org",  # the same host is not on the list
        "null",
        "*",
        "",
    ],
)
async def test_an_unlisted_origin_is_refused(probe: OriginProbe, origin: str) -> None:
    """An Origin that is not listed gets 403, such as another scheme, port or host, or `null`."""
    assert await probe.status(origin, "example.org", origins=LISTED) == 403


@pytest.mark.parametrize("origin", ["http://foreign.example", "null", "garbage"])
async def test_a_star_accepts_any_origin(probe: OriginProbe, origin: str) -> None:
    """`origins="*"` accepts any Origin."""
    assert await probe.status(origin, "example.org", origins="*") == 101


@pytest.mark.parametrize("origins", ["https://good.example", ["good.example"], ["*"], [""]])
def test_an_invalid_list_of_origins_is_refused(origins: object) -> None:
    """A route with an `origins` that no Origin can match is refused."""
    with pytest.raises((TypeError, ValueError), match="origins"):
        rxws.websocket(lambda conn: None, origins=origins)  # type: ignore[call-overload]  # on purpose


@pytest.mark.promise("origin")
@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("https://a.good.example", 101),
        ("https://a.b.good.example", 101),
        ("https://good.example", 403),
        ("https://evilgood.example", 403),
        ("https://a.good.example.evil", 403),
        ("https://*.good.example", 403),
        ("file://", 101),
        ("null", 403),
    ],
)
async def test_a_list_may_have_wildcards_and_files(
    probe: OriginProbe, origin: str, status: int
) -> None:
    """A listed `https://*.good.example` accepts subdomains only; `file://` accepts local files."""
    assert await probe.status(origin, origins=["https://*.good.example", "file://"]) == status


@pytest.mark.parametrize(("origin", "status"), [("null", 101), ("file://", 403)])
async def test_null_can_be_listed(probe: OriginProbe, origin: str, status: int) -> None:
    """A listed `null` accepts sandboxed frames and local files."""
    assert await probe.status(origin, "null", origins=["null"]) == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [("https://public.example", 101), ("http://internal.example", 403)],
)
async def test_a_cloned_request_has_its_own_host(
    serve: Serve, raw_client: Dial, origin: str, status: int
) -> None:
    """A middleware may replace host, scheme and remote address: `request.clone(host=…)`."""
    seen: list[rxws.Handshake] = []

    def handler(conn: AnyConnection) -> None:
        seen.append(conn.handshake)
        conn.outgoing.on_completed()

    async def route(request: web.Request) -> web.StreamResponse:
        forwarded = request.clone(scheme="https", host="public.example", remote="203.0.113.7")
        return await rxws.upgrade(forwarded, handler)

    port = await serve(route)
    client = await raw_client(port, headers={"Host": "internal.example", "Origin": origin})
    assert client.head.status == status
    if status == 101:
        await client.answer_close()
        await client.until_ended()
        assert str(seen[0].url) == "https://public.example/"
        assert seen[0].remote == "203.0.113.7"
    else:
        assert not seen
