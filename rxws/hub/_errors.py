"""The exceptions of hubs."""

from __future__ import annotations

from rxws._core.errors import RxwsError

__all__ = ["BackplaneError", "Unconfirmed"]


class BackplaneError(RxwsError):
    """The engine of a hub's backplane, such as Redis, cannot be reached, or refuses a request."""


class Unconfirmed(BackplaneError):
    """A message may have been published or not: the connection was lost before the answer.

    `Topic.publish`: publish it again with the same `id`, and it is published once. A topic that
    keeps nothing has no ids; its message may have reached the subscribers of this process only.

    `ClientTopic.publish`: the protocol has no ids. Put one of your own into the message, so that
    readers can recognize it if you publish it again.
    """
