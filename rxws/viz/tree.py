"""Lists and objects, as JSON has them, in HTML that unfolds, and in one line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from .plain import WHOLE, cut_note, escape, one_line, shown

__all__ = ["is_tree", "tree"]

DEPTH = 8  # levels that unfold
INLINE = 60  # characters that a list or an object may take before it is folded


def is_tree(value: Any) -> bool:
    """Whether it is a list or an object."""
    return isinstance(value, (dict, list, tuple))


def tree(value: Any) -> str:
    """Return a list or an object as HTML, its first level unfolded; cut if it is very large."""
    made = _Tree()
    level = made.level(value, 0)
    return level + cut_note(f"the first {WHOLE:,} characters") if made.left < 0 else level


class _Tree:
    """One tree, and the room that it has left."""

    def __init__(self) -> None:
        self.left = WHOLE

    def level(self, value: Any, depth: int) -> str:
        """Return the items of a list or an object, each in its line."""
        lines: list[str] = []
        for index, (key, each) in enumerate(_items(value)):
            if self.left < 0:
                break
            name = str(index) if key is None else one_line(key, 80)
            self.left -= len(name) + 10  # and something for the elements around it
            lines.append(f"<li>{self._item(f'<b>{escape(name)}</b>: ', each, depth)}</li>")
        return f"<ul>{''.join(lines)}</ul>"

    def _item(self, name: str, value: Any, depth: int) -> str:
        if is_tree(value):
            line = _compact(value, INLINE)
            folded = line is None
            if line is None:
                line = _preview(value)
            self.left -= len(line)
            if folded and depth < DEPTH:
                level = self.level(value, depth + 1)
                return f"<details><summary>{name}{escape(line)}</summary>{level}</details>"
            return f"{name}{escape(line)}"
        text = value if isinstance(value, str) else _scalar(value)
        line = escape(one_line(text, max(self.left, INLINE)))
        self.left -= len(text)
        return f"{name}<q>{line}</q>" if isinstance(value, str) else f"{name}<i>{line}</i>"


def _items(value: Any) -> Iterable[tuple[str | None, Any]]:
    """The items, each with its name if it has one."""
    if _is_object(value):
        return ((key if isinstance(key, str) else shown(key), each) for key, each in value.items())
    return ((None, each) for each in value)


def _join(value: Any, parts: Iterable[str]) -> str:
    inside = ", ".join(parts)
    return f"{{{inside}}}" if _is_object(value) else f"[{inside}]"


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _compact(value: Any, room: int) -> str | None:
    """Return a value in one line if it takes no more than so many characters."""
    if not is_tree(value):
        if isinstance(value, str) and len(value) > room:
            return None
        text = one_line(_scalar(value), WHOLE)
        return text if len(text) <= room else None
    parts: list[str] = []
    room -= 2
    for key, each in _items(value):
        name = "" if key is None else f"{key[: room + 1]}: "
        part = _compact(each, room - len(name))
        if part is None:
            return None
        parts.append(name + part)
        room -= len(name) + len(part) + 2
    return one_line(_join(value, parts), WHOLE)


def _preview(value: Any) -> str:
    """Return the beginning of a list or an object, cut behind its first items."""
    parts: list[str] = []
    room = INLINE
    for key, each in _items(value):
        part = _compact(each, 24)
        if part is None:
            part = _join(each, "…") if is_tree(each) else _scalar(each)
        parts.append(one_line(part if key is None else f"{key}: {part}", 30))
        room -= len(parts[-1]) + 2
        if room < 0:
            break
    if len(parts) == len(value):
        return _join(value, parts)
    return f"{_join(value, [*parts, '…'])} ({len(value):,})"


def _scalar(value: object) -> str:
    if isinstance(value, str):
        if value.isprintable() and '"' not in value and "\\" not in value:
            return f'"{value}"'  # most of them; the other way takes five times as long
        return json.dumps(value[: WHOLE + 1], ensure_ascii=False)
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    return shown(value)
