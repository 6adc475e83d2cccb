"""JSON lists and objects as HTML that unfolds level by level."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from rxws._recording.diagram.tooltips import safe_repr

from .text import MAX_BLOCK, cut_note, escape, one_line

__all__ = ["is_tree", "pairs_of", "tree"]

MAX_DEPTH = 8  # levels that unfold
MAX_INLINE = 60  # characters: a longer list or object is folded
MAX_ITEM = 24  # characters of each item in the summary of a folded list or object


def is_tree(value: Any) -> bool:
    """Whether a value is a list or an object."""
    return isinstance(value, (dict, list, tuple))


def tree(value: Any) -> str:
    """Return a list or an object as HTML, its first level unfolded; cut if it is very large."""
    builder = _TreeBuilder()
    html = _html_list(builder.items(value, 0))
    return html + cut_note(f"the first {MAX_BLOCK:,} characters") if builder.room < 0 else html


class _Node(NamedTuple):
    """A value in the tree."""

    line: str  # the value as one line; if it is folded, a summary
    html: str  # the line as HTML
    items: str = ""  # the items of a folded value as HTML


_Items = list[tuple[str, _Node]]


class _TreeBuilder:
    """Builds a tree of up to `MAX_BLOCK` characters, and visits each value once."""

    def __init__(self) -> None:
        self.room = MAX_BLOCK  # characters that are left

    def items(self, value: Any, depth: int) -> _Items:
        """Return the items of a list or an object with their names, until no room is left."""
        named: _Items = []
        for key, each in pairs_of(value):
            if self.room < 0:
                break
            name = one_line(key if isinstance(key, str) else safe_repr(key, 80), 80)
            self.room -= len(name) + 10  # with an allowance for the HTML tags
            named.append((name, self._node(each, depth)))
        return named

    def _node(self, value: Any, depth: int) -> _Node:
        if not is_tree(value) or not value:
            return self._leaf(value)
        if depth == MAX_DEPTH:
            line = _bracketed(value, "…")
            return _Node(line, line)
        items = self.items(value, depth + 1)
        if len(items) == len(value) <= MAX_INLINE // 3 and not any(node.items for _, node in items):
            inside = ", ".join(_named(value, name, node.line) for name, node in items)
            line = _bracketed(value, inside)
            if len(line) <= MAX_INLINE:
                return _Node(line, escape(line))
        line = _summary(value, items)
        return _Node(line, escape(line), _html_list(items))

    def _leaf(self, value: Any) -> _Node:
        text = value if isinstance(value, str) else _scalar(value)
        line = one_line(text, max(self.room, MAX_INLINE))
        self.room -= len(text)
        if isinstance(value, str):
            return _Node(f'"{line}"', f"<q>{escape(line)}</q>")
        return _Node(line, f"<i>{escape(line)}</i>")


def _html_list(items: _Items) -> str:
    lines = [
        f"<details><summary><b>{escape(name)}</b>: {node.html}</summary>{node.items}</details>"
        if node.items
        else f"<b>{escape(name)}</b>: {node.html}"
        for name, node in items
    ]
    return f"<ul><li>{'</li><li>'.join(lines)}</li></ul>"


def _summary(value: Any, items: _Items) -> str:
    """Return the first items in one line, each cut, with the number of items."""
    parts: list[str] = []
    room = MAX_INLINE
    for index, (name, node) in enumerate(items):
        line = node.line
        if len(line) > MAX_ITEM or node.items:
            line = {"{": "{…}", "[": "[…]"}.get(line[0], f"{line[:MAX_ITEM]}…")
        parts.append(_named(value, name[:MAX_ITEM], line))
        room -= len(parts[-1]) + 2
        if room < 0 and index + 1 < len(value):
            return f"{_bracketed(value, ', '.join([*parts, '…']))} ({len(value):,})"
    return _bracketed(value, ", ".join(parts))


def pairs_of(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the keys and values of an object, or the indices and items of a list."""
    pairs = value.items() if _is_object(value) else enumerate(value)
    return cast("Iterable[tuple[Any, Any]]", pairs)


def _named(value: Any, name: str, line: str) -> str:
    return f"{name}: {line}" if _is_object(value) else line


def _bracketed(value: Any, inside: str) -> str:
    return f"{{{inside}}}" if _is_object(value) else f"[{inside}]"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    return safe_repr(value)
