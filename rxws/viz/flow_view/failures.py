"""The text below a diagram: the error with its step and value, and other remarks."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

import reactivex

from rxws._recording.diagram.labels import cut
from rxws._recording.diagram.tooltips import message, safe_repr
from rxws.viz import notebook

__all__ = ["Failure", "Remark", "describe_errors", "describe_failure", "remark"]

# Tracebacks omit frames of these packages: users look for their own code.
_INTERNAL = tuple(
    f"{path}/" for path in (Path(__file__).parents[2], Path(reactivex.__file__).parent)
)
_SHORT = 80  # columns of a value or a message; the rest is in a tooltip
_LONG = 2000
_LATEST = 3  # errors that are shown


class Failure(NamedTuple):
    """An error that ended a chain."""

    error: Exception
    step: str  # the name of the step that caused it
    detail: str = ""  # the arguments of that step
    value: tuple[Any, ...] | None = None  # the value that caused it, in a tuple, if known


class Remark(NamedTuple):
    """A remark below a diagram, as HTML and as text."""

    html: str
    text: str


def remark(text: str) -> Remark:
    """Make a remark in grey; text between backticks is code."""
    parts = enumerate(escape(text).split("`"))
    html = "".join(f"<code>{part}</code>" if at % 2 else part for at, part in parts)
    return Remark(f'<div style="color:var(--rxws-muted)">{html}</div>', text)


def describe_failure(failure: Failure) -> Remark:
    """Describe the error that ended a chain, with its step and value."""
    headline = _headline(failure.error)
    html = [headline.html, f" in <b>{escape(failure.step)}</b>"]
    text = [f"{headline.text}\n  in {failure.step}"]
    if failure.detail:
        html.append(f" <code>{escape(failure.detail)}</code>")
        text.append(f" ({failure.detail})")
    if failure.value is not None:
        value = cut(safe_repr(failure.value[0], _LONG), _LONG)
        short = cut(value, _SHORT)
        html.append(f', at the value <code title="{escape(value)}">{escape(short)}</code>')
        text.append(f", at the value {short}")
    trace, where = _trace(failure.error)
    if trace:
        html.append(
            '<details style="color:var(--rxws-fg)"><summary style="cursor:pointer;'
            f'color:var(--rxws-muted)">Traceback</summary><pre style="margin:.3em 0 0;'
            f'background:none;color:inherit;font-size:.92em">{escape(trace)}</pre></details>'
        )
    if where:
        text.append(f"\n  {where}")
    return Remark(f'<div style="color:var(--rxws-bad)">{"".join(html)}</div>', "".join(text))


def describe_errors(errors: Sequence[Exception]) -> Remark:
    """Describe the latest errors of a connection that is still open."""
    latest = [_headline(error) for error in errors[-_LATEST:]]
    count = f"{len(errors)} errors, the latest:" if len(errors) > _LATEST else ""
    html = "".join(f"<div>{each.html}</div>" for each in latest)
    text = "\n".join(each.text for each in latest)
    return Remark(
        f'<div style="color:var(--rxws-bad)">{count}{html}</div>',
        f"{count}\n{text}" if count else text,
    )


def _headline(error: Exception) -> Remark:
    """Return the type of an error and its message."""
    name, said = type(error).__name__, cut(message(error, _LONG), _LONG)
    short = cut(said, _SHORT * 2)
    html = f"<b>{escape(name)}</b>"
    if short:
        html += f': <span title="{escape(said)}">{escape(short)}</span>'
    return Remark(html, f"✗ {name}: {short}" if short else f"✗ {name}")


def _trace(error: Exception) -> tuple[str, str]:
    """Return the traceback without frames of RxPY and rxws, and where its last frame is."""
    trace = traceback.TracebackException.from_exception(error)
    chained, seen = [trace], {id(trace)}
    for each in chained:  # the loop appends to it
        each.stack[:] = [frame for frame in each.stack if not frame.filename.startswith(_INTERNAL)]
        for other in (each.__cause__, each.__context__):
            if other is not None and id(other) not in seen:
                seen.add(id(other))
                chained.append(other)
    if not trace.stack:
        return "", ""
    last = trace.stack[-1]
    lines = "".join(trace.format())
    for file in {frame.filename for each in chained for frame in each.stack}:
        lines = lines.replace(f'File "{file}"', notebook.traceback_name(file))
    return (
        lines.rstrip(),
        f"{notebook.traceback_name(last.filename)}, line {last.lineno}, in {last.name}",
    )
