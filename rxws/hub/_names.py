"""The names of topics and users, and patterns of them."""

from __future__ import annotations

from rxws._core.errors import short_repr

__all__ = ["RESERVED", "check_name", "check_pattern", "check_topic", "check_user", "matches"]

RESERVED = "$rxws:"
"""The prefix of the topics that a hub uses for itself."""


def check_topic(topic: object) -> str:
    """Return a topic's name.

    Raises:
        TypeError: It is no `str`.
        ValueError: It is empty, reserved, or no valid Unicode.
    """
    name = check_name("topic", topic)
    if name.startswith(RESERVED):
        raise ValueError(
            f"topic {short_repr(name)}: names that begin with {RESERVED!r} are reserved"
        )
    return name


def check_user(name: object) -> str:
    """Return a user's name, which may be any text.

    Raises:
        TypeError: It is no `str`.
        ValueError: It is empty, or no valid Unicode.
    """
    return check_name("user", name)


def check_pattern(pattern: object) -> str:
    """Return a topic's name or a prefix with a trailing `*`.

    Raises:
        TypeError: It is no `str`.
        ValueError: It is empty, has a `*` elsewhere, is reserved, or no valid Unicode.
    """
    name = check_topic(pattern)
    if "*" in name[:-1]:
        raise ValueError(f"topic {short_repr(name)}: '*' may only be the last character")
    return name


def matches(pattern: str, topic: str) -> bool:
    """Return whether a pattern of `check_pattern` matches a topic."""
    return topic.startswith(pattern[:-1]) if pattern.endswith("*") else topic == pattern


def check_name(what: str, name: object) -> str:
    """Return the name of something, which may be any text; see `check_user`."""
    if not isinstance(name, str):
        raise TypeError(f"{what} {short_repr(name)} is no str: use str(...)")
    if not name:
        raise ValueError(f"the name of a {what} is empty: use at least one character")
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(
            f"{what} {short_repr(name)} has no UTF-8: it contains half of a surrogate pair"
        ) from exc
    return name
