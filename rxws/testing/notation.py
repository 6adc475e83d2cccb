"""Parse marble diagrams: RxPY's grammar, with close codes and pauses of reading."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable
from typing import NamedTuple

from rxws._core.connection import Close

__all__ = ["Token", "check_names", "parse"]

# The order matters. Spaces are removed first, except within a close's reason.
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
_HINTS = {
    ",": ": use a comma only inside a group, as in (a,b)",
    "(": ": write a group as (a,b); groups cannot be nested",
    ")": ": no group is open here",
    "{": ": write a close as {4001} or {4001 reason}",
    "}": ": no close is open here",
}


class Token(NamedTuple):
    """One event in a marble diagram.

    Args:
        at: Seconds from the start.
        sign: `""` for a value, else `|`, `#`, `<`, `>`, or `{` for a close.
        name: The text of a value.
        close: The close, if the sign is `{`.
    """

    at: float
    sign: str
    name: str = ""
    close: Close | None = None


def parse(text: str, step: float) -> tuple[list[Token], float]:
    """Parse a marble diagram.

    Args:
        text: Each character except a space lasts one step. `-` lets time pass, `ab` is one value,
            `(a,b)` are two values at once, `|` completes, `#` fails, `{4001 reason}` closes, `<`
            stops reading and `>` reads again.
        step: Seconds per character.

    Returns:
        The events in order, and the length of the diagram in seconds.

    Raises:
        ValueError: The text is not a marble diagram, or the step is not above 0.
    """
    if not 0 < step < math.inf:
        raise ValueError(f"step={step!r} must be a number of seconds above 0")
    tokens: list[Token] = []
    column = 0
    ended = False
    for match in _TOKENS.finditer(_CLOSE_OR_SPACE.sub(lambda found: found[1] or "", text)):
        kind, found = str(match.lastgroup), match.group()
        if kind == "wrong":
            raise ValueError(f"unexpected {found!r} in {text!r}{_HINTS.get(found, '')}")
        for token in _tokens(kind, match[kind], round(column * step, 6), text):
            if ended and token.sign not in ("<", ">"):  # a peer that has closed may still read
                raise ValueError(f"{found!r} in {text!r} comes after the end")
            ended = ended or token.sign in _ENDS
            tokens.append(token)
        column += len(found)
    return tokens, round(column * step, 6)


def check_names(tokens: Iterable[Token], names: Collection[str]) -> None:
    """Check that no token runs several names together, as in RxJS: here `ab` is one name.

    Raises:
        ValueError: A name is not in `names`, but each of its characters is.
    """
    for name in (token.name for token in tokens):
        if len(name) > 1 and name not in names and all(each in names for each in name):
            raise ValueError(
                f"{name!r} is one name, and not a key of `values`: write ({','.join(name)}) for "
                f"several values at once, or {'-'.join(name)} for one after the other"
            )


def _tokens(kind: str, found: str, at: float, text: str) -> list[Token]:
    if kind == "ticks":
        return []
    if kind == "close":
        return [Token(at, "{", close=_close(found, text))]
    members = _MEMBER.findall(found) if kind == "group" else [found]
    return [_token(member, at, text) for member in members]


def _token(found: str, at: float, text: str) -> Token:
    if found[0] == "{":
        return Token(at, "{", close=_close(found[1:-1], text))
    if found in _SIGNS:
        return Token(at, found)
    if any(sign in found for sign in (*_SIGNS, "{")):
        raise ValueError(f"{found!r} in {text!r} mixes a name and a sign: write (a,|)")
    return Token(at, "", found)


def _close(found: str, text: str) -> Close:
    code, _, reason = found.strip().partition(" ")
    try:
        return Close(int(code), reason.strip())
    except ValueError as exc:
        raise ValueError(
            f"{{{found}}} in {text!r} is not a close: write {{4001}} or {{4001 reason}} ({exc})"
        ) from exc
