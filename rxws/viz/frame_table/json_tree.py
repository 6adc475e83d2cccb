"""JSON lists and objects as HTML that unfolds level by level."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from rxws._recording.diagram.labels import safe_repr

from .text import WHOLE, cut_note, escape, one_line

__all__ = ["is_tree", "tree"]

DEPTH = 8  # levels that unfold
INLINE = 60  # characters: a longer list or object is folded
PART = 24  # characters of each item in the summary of a folded list or object


def is_tree(value: Any) -> bool:
    """Whether a value is a list or an object."""
    return isinstance(value, (dict, list, tuple))


def tree(value: Any) -> str:
    """Return a list or an object as HTML, its first level unfolded; cut if it is very large."""
    builder = _TreeBuilder()
    level = _level(builder.items(value, 0))
    return level + cut_note(f"the first {WHOLE:,} characters") if builder.left < 0 else level


class _Node(NamedTuple):
    """A value in the tree."""

    line: str  # the value in one line, or its beginning if it is folded
    html: str  # the same as HTML
    level: str = ""  # the items as HTML if it is folded


_Items = list[tuple[str, _Node]]


class _TreeBuilder:
    """Builds a tree up to a number of characters, and visits each value once."""

    def __init__(self) -> None:
        self.left = WHOLE

    def items(self, value: Any, depth: int) -> _Items:
        """Return the named items of a list or an object, as many as there is room for."""
        named: _Items = []
        for key, each in _pairs(value):
            if self.left < 0:
                break
            name = one_line(key if isinstance(key, str) else safe_repr(key), 80)
            self.left -= len(name) + 10  # with an allowance for the HTML tags
            named.append((name, self._node(each, depth)))
        return named

    def _node(self, value: Any, depth: int) -> _Node:
        if not is_tree(value) or not value:
            return self._leaf(value)
        if depth == DEPTH:
            line = _join(value, "…")
            return _Node(line, line)
        items = self.items(value, depth + 1)
        if len(items) == len(value) <= INLINE // 3 and not any(node.level for _, node in items):
            line = _join(value, ", ".join(_named(value, name, node.line) for name, node in items))
            if len(line) <= INLINE:
                return _Node(line, escape(line))
        line = _beginning(value, items)
        return _Node(line, escape(line), _level(items))

    def _leaf(self, value: Any) -> _Node:
        text = value if isinstance(value, str) else _scalar(value)
        line = one_line(text, max(self.left, INLINE))
        self.left -= len(text)
        if isinstance(value, str):
            return _Node(f'"{line}"', f"<q>{escape(line)}</q>")
        return _Node(line, f"<i>{escape(line)}</i>")


def _level(items: _Items) -> str:
    lines = [
        f"<details><summary><b>{escape(name)}</b>: {node.html}</summary>{node.level}</details>"
        if node.level
        else f"<b>{escape(name)}</b>: {node.html}"
        for name, node in items
    ]
    return f"<ul><li>{'</li><li>'.join(lines)}</li></ul>"


def _beginning(value: Any, items: _Items) -> str:
    """Return the first items in one line, each cut, and the number of items."""
    parts: list[str] = []
    room = INLINE
    for index, (name, node) in enumerate(items):
        line = node.line
        if len(line) > PART or node.level:
            line = {"{": "{…}", "[": "[…]"}.get(line[0], f"{line[:PART]}…")
        parts.append(_named(value, name[:PART], line))
        room -= len(parts[-1]) + 2
        if room < 0 and index + 1 < len(value):
            return f"{_join(value, ', '.join([*parts, '…']))} ({len(value):,})"
    return _join(value, ", ".join(parts))


def _pairs(value: Any) -> Iterable[tuple[Any, Any]]:
    pairs = value.items() if _is_object(value) else enumerate(value)
    return cast("Iterable[tuple[Any, Any]]", pairs)


def _named(value: Any, name: str, line: str) -> str:
    return f"{name}: {line}" if _is_object(value) else line


def _join(value: Any, inside: str) -> str:
    return f"{{{inside}}}" if _is_object(value) else f"[{inside}]"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    return safe_repr(value)
