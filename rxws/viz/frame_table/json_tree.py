"""Lists and objects, as JSON has them, in HTML that unfolds level by level."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from .text import WHOLE, cut_note, escape, one_line, shown

__all__ = ["is_tree", "tree"]

DEPTH = 8  # levels that unfold
INLINE = 60  # characters that a list or an object may take before it is folded
PART = 24  # characters of each of its items that stand in the line of what is folded


def is_tree(value: Any) -> bool:
    """Whether it is a list or an object."""
    return isinstance(value, (dict, list, tuple))


def tree(value: Any) -> str:
    """Return a list or an object as HTML, its first level unfolded; cut if it is very large."""
    made = _Tree()
    level = _level(made.items(value, 0))
    return level + cut_note(f"the first {WHOLE:,} characters") if made.left < 0 else level


class _Node(NamedTuple):
    """A value within a tree.

    Args:
        line: It in one line; of what is folded its beginning.
        html: The same as HTML.
        level: Its items as HTML, if it is folded.
    """

    line: str
    html: str
    level: str = ""


_Items = list[tuple[str, _Node]]


class _Tree:
    """One tree, and the room that it has left. Each value is seen once: tables are drawn often."""

    def __init__(self) -> None:
        self.left = WHOLE

    def items(self, value: Any, depth: int) -> _Items:
        """Return the items of a list or an object with their names, as far as there is room."""
        found: _Items = []
        for key, each in _pairs(value):
            if self.left < 0:
                break
            name = one_line(key if isinstance(key, str) else shown(key), 80)
            self.left -= len(name) + 10  # and something for the elements around it
            found.append((name, self._node(each, depth)))
        return found

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
    """Return the first items in one line, each cut, and how many there are."""
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
    return shown(value)
