"""Operators that reactivex does not have."""

from ._map_async import Backlog, map_async
from ._on_loop import on_loop
from ._reconnect import reconnect

__all__ = ["Backlog", "map_async", "on_loop", "reconnect"]
