"""The handshake of a connection in a test."""

from __future__ import annotations

from typing import Any, TypeAlias, cast

from yarl import URL

from rxws._core.connection import Handshake

__all__ = ["HandshakeLike", "handshake_of"]

HandshakeLike: TypeAlias = Handshake | URL | str


def handshake_of(given: HandshakeLike | None) -> Handshake:
    """Return a handshake as it is, or one without headers for a URL.

    Raises:
        TypeError: It is neither, or its `url` is no `yarl.URL`.
    """
    url: Any = given or "ws://localhost/"
    if isinstance(url, str | URL):
        return Handshake(URL(url), {})
    if isinstance(url, Handshake) and isinstance(cast(object, url.url), URL):
        return url
    raise TypeError(
        f"handshake={given!r:.100} has no URL: pass one, such as 'ws://localhost/?room=7', or an "
        "rxws.Handshake whose url is a yarl.URL"
    )
