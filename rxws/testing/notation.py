"""The marble notation: RxPY's grammar, and how connections end."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

from rxws._core.connection import Close

__all__ = ["Token", "parse"]

# In this order: a group, an end by a close code, time that passes, a sign, a name. Spaces are gone,
# but for those of a reason.
_TOKENS = re.compile(
    r"""
    \( (?P<group> (?: [^(){}] | \{ [^{}]* \} )* ) \)
    | \{ (?P<close> [^{}]* ) \}
    | (?P<ticks> -+ )
    | (?P<sign> [|\#<>] )
    | (?P<name> [^-,(){}|\#<>]+ )
    | (?P<wrong> . )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSE_OR_SPACE = re.compile(r"(\{[^{}]*\})|\s+")
_MEMBER = re.compile(r"\{[^{}]*\}|[^,]+")

_SIGNS = ("|", "#", "<", ">")
_ENDS = ("|", "#", "{")


class Token(NamedTuple):
    """One thing that happens in a marble diagram.

    Args:
        at: Seconds from its beginning.
        sign: `""` for a value, else `|`, `#`, `<`, `>`, or `{` for a close.
        name: The text that stands for a value.
        close: The close, with the sign `{`.
    """

    at: float
    sign: str
    name: str = ""
    close: Close | None = None


def parse(text: str, step: float) -> tuple[list[Token], float]:
    """Read a marble diagram.

    Args:
        text: Each character takes a step, but for spaces. `-` lets time pass; `ab` is one value,
            `(a,b)` are two at once; `|` completes, `#` fails, `{4001 reason}` closes; `<` and `>`
            stop and start taking.
        step: Seconds of one character.

    Returns:
        What happens, in order, and the seconds that all of it takes.

    Raises:
        ValueError: The text is no marble diagram, or the step no time.
    """
    if not 0 < step < math.inf:
        raise ValueError(f"step={step!r} is no time: use seconds above 0")
    marks: list[Token] = []
    column = 0
    ended = False
    for token in _TOKENS.finditer(_CLOSE_OR_SPACE.sub(lambda found: found[1] or "", text)):
        kind, found = str(token.lastgroup), token.group()
        if kind == "wrong":
            raise ValueError(f"{found!r} in {text!r} is not marbles{_HINTS.get(found, '')}")
        for mark in _marks(kind, token[kind], round(column * step, 6), text):
            # Who has closed may still start or stop taking.
            if ended and mark.sign not in ("<", ">"):
                raise ValueError(f"{found!r} in {text!r} comes after the end")
            ended = ended or mark.sign in _ENDS
            marks.append(mark)
        column += len(found)
    return marks, round(column * step, 6)


_HINTS = {
    ",": ": a comma belongs into a group, as in (a,b)",
    "(": ": a group is written (a,b), and none within another",
    ")": ": it ends a group that did not begin",
    "{": ": a close is written {4001} or {4001 why}",
    "}": ": it ends a close that did not begin",
}


def _marks(kind: str, found: str, at: float, text: str) -> list[Token]:
    if kind == "ticks":
        return []
    if kind == "close":
        return [Token(at, "{", close=_close(found, text))]
    return [
        _mark(each, at, text) for each in (_MEMBER.findall(found) if kind == "group" else [found])
    ]


def _mark(found: str, at: float, text: str) -> Token:
    if found[0] == "{":
        return Token(at, "{", close=_close(found[1:-1], text))
    if found in _SIGNS:
        return Token(at, found)
    if any(sign in found for sign in (*_SIGNS, "{")):
        raise ValueError(f"{found!r} in {text!r} is neither a name nor a sign: write (a,|)")
    return Token(at, "", found)


def _close(found: str, text: str) -> Close:
    code, _, reason = found.strip().partition(" ")
    try:
        return Close(int(code), reason.strip())
    except ValueError as exc:
        raise ValueError(
            f"{{{found}}} in {text!r} is no close ({exc}): write {{4001}} or {{4001 why}}"
        ) from exc
