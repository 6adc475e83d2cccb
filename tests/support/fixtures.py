"""The types of what the fixtures of conftest.py return."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from support.peers.raw import RawClient

RouteHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[web.Application | RouteHandler], Awaitable[int]]
Dial = Callable[..., Awaitable[RawClient]]
