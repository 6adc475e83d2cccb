"""The exceptions of hubs."""

from __future__ import annotations

from rxws._core.errors import RxwsError

__all__ = ["BackplaneError", "Unconfirmed"]


class BackplaneError(RxwsError):
    """The engine of a hub's backplane cannot be reached, or refuses."""


class Unconfirmed(BackplaneError):
    """A message may have been published or not: the connection was lost before the answer.

    Publish it again with the same `id`: it is then published once. In a topic that keeps nothing,
    there are no ids, and it may have reached the subscribers of this process only.
    """
