"""The marble notation: RxPY's grammar, and how connections end."""

from __future__ import annotations

import re
from typing import NamedTuple

from rxws.messages import Close

__all__ = ["Mark", "parse"]

# In this order: a group, an end by a close code, time that passes, a sign, a name.
_TOKENS = re.compile(
    r"""
    \( (?P<group> [^()]* ) \)
    | \{ (?P<close> [^{}]* ) \}
    | (?P<ticks> -+ )
    | (?P<sign> [|#<>] )
    | (?P<name> [^-,(){}|\#<>\s]+ )
    | (?P<space> \s+ )
    | (?P<wrong> . )
    """,
    re.VERBOSE | re.DOTALL,
)

_SIGNS = "|#<>"
_ENDS = "|#"


class Mark(NamedTuple):
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


def parse(text: str, step: float) -> tuple[list[Mark], float]:
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
    if not step > 0:
        raise ValueError(f"step={step!r} is no time: use seconds above 0")
    marks: list[Mark] = []
    column = 0
    for token in _TOKENS.finditer(text):
        kind, found = token.lastgroup, token.group()
        at = round(column * step, 6)
        if kind == "wrong":
            hint = ": it belongs into a group, as in (a,b)" if found == "," else ""
            raise ValueError(
                f"{found!r} at character {token.start()} of {text!r} is not marbles{hint}"
            )
        if kind not in ("ticks", "space"):
            for mark in _marks(kind, token[str(kind)], at, text):
                if marks and (marks[-1].sign == "{" or marks[-1].sign in tuple(_ENDS)):
                    raise ValueError(f"{found!r} in {text!r} comes after the end")
                marks.append(mark)
        column += len(found.replace(" ", "")) if kind != "space" else 0
    return marks, round(column * step, 6)


def _marks(kind: str | None, found: str, at: float, text: str) -> list[Mark]:
    if kind == "close":
        return [Mark(at, "{", close=_close(found, text))]
    names = found.split(",") if kind == "group" else [found]
    return [
        Mark(at, name) if name in tuple(_SIGNS) else Mark(at, "", name)
        for name in map(str.strip, names)
        if name
    ]


def _close(found: str, text: str) -> Close:
    code, _, reason = found.strip().partition(" ")
    try:
        return Close(int(code), reason.strip())
    except ValueError as exc:
        raise ValueError(
            f"{{{found}}} in {text!r} is no close: write {{4001}} or {{4001 why}}"
        ) from exc
