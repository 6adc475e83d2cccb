"""What is said below a picture: an error with the step and the value that caused it, and faults."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import reactivex

from rxws.viz import notebook

__all__ = ["Failure", "Said", "failed", "faults", "remark"]

# Whose frames tell nothing to who wrote a mapper.
_INTERNAL = tuple(
    f"{path}/" for path in (Path(__file__).parents[2], Path(reactivex.__file__).parent)
)
_SHORT = 80  # characters of a value or a message; more of it is a tooltip
_LONG = 2000
_LATEST = 3  # faults that are shown


class Failure(NamedTuple):
    """An error that ended a chain.

    Args:
        error: It.
        step: The name of the step that it comes from.
        detail: What that step was given.
        value: What the step was called with, in a tuple; None where that is not known.
    """

    error: Exception
    step: str
    detail: str = ""
    value: tuple[Any] | None = None


class Said(NamedTuple):
    """A remark below a picture, in both forms."""

    html: str
    text: str


def remark(text: str) -> Said:
    """Say something in passing; what is between backticks is code."""
    parts = enumerate(escape(text).split("`"))
    html = "".join(f"<code>{part}</code>" if at % 2 else part for at, part in parts)
    return Said(f'<div style="color:var(--rxws-muted)">{html}</div>', text)


def failed(failure: Failure) -> Said:
    """Say which error ended a chain, in which step, and at which value."""
    said = _headline(failure.error)
    html = [said.html, f" in <b>{escape(failure.step)}</b>"]
    text = [f"{said.text}\n  in {failure.step}"]
    if failure.detail:
        html.append(f" <code>{escape(failure.detail)}</code>")
        text.append(f" ({failure.detail})")
    if failure.value is not None:
        value = _repr(failure.value[0])
        short = escape(_cut(value, _SHORT))
        html.append(f', at the value <code title="{escape(value)}">{short}</code>')
        text.append(f", at the value {_cut(value, _SHORT)}")
    trace, where = _trace(failure.error)
    if trace:
        html.append(
            '<details style="color:var(--rxws-fg)"><summary style="cursor:pointer;'
            f'color:var(--rxws-muted)">Traceback</summary><pre style="margin:.3em 0 0;'
            f'background:none;color:inherit;font-size:.92em">{escape(trace)}</pre></details>'
        )
    if where:
        text.append(f"\n  {where}")
    return Said(f'<div style="color:var(--rxws-bad)">{"".join(html)}</div>', "".join(text))


def faults(errors: Sequence[Exception]) -> Said:
    """Say which faults a connection had that were not its end: the latest of them."""
    latest = [_headline(error) for error in errors[-_LATEST:]]
    count = f"{len(errors)} faults, the latest:" if len(errors) > _LATEST else ""
    html = "".join(f"<div>{said.html}</div>" for said in latest)
    text = "\n".join(said.text for said in latest)
    return Said(
        f'<div style="color:var(--rxws-bad)">{count}{html}</div>',
        f"{count}\n{text}" if count else text,
    )


def _headline(error: Exception) -> Said:
    """The type of an error and its message."""
    name, message = type(error).__name__, _cut(_repr(error, str), _LONG)
    short = _cut(message, _SHORT * 2)
    html = f"<b>{escape(name)}</b>"
    if short:
        html += f': <span title="{escape(message)}">{escape(short)}</span>'
    return Said(html, f"✗ {name}: {short}" if short else f"✗ {name}")


def _trace(error: Exception) -> tuple[str, str]:
    """The traceback without RxPY's frames and ours, and where its last line is; or nothing."""
    told = traceback.TracebackException.from_exception(error)
    each, seen = [told], {id(told)}
    for one in each:  # it grows
        one.stack[:] = [frame for frame in one.stack if not frame.filename.startswith(_INTERNAL)]
        for other in (one.__cause__, one.__context__):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                each.append(other)
    if not told.stack:
        return "", ""
    last = told.stack[-1]
    lines = "".join(told.format())
    for file in {frame.filename for one in each for frame in one.stack}:
        lines = lines.replace(f'File "{file}"', notebook.place_of(file))
    return lines.rstrip(), f"{notebook.place_of(last.filename)}, line {last.lineno}, in {last.name}"


def _repr(value: object, form: Any = repr) -> str:
    try:
        return _cut(form(value), _LONG)
    except Exception as exc:  # it is the user's, as all that is shown here
        return f"<{type(value).__name__} without a repr: {type(exc).__name__}>"


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"
