"""Operators that reactivex does not have."""

from ._backlog import Backlog
from ._map_async import map_async
from ._on_loop import on_loop
from ._rate_limit import rate_limit
from ._reconnect import reconnect

__all__ = ["Backlog", "map_async", "on_loop", "rate_limit", "reconnect"]
