"""Compare what arrives with a recording."""

from __future__ import annotations

import json
from difflib import unified_diff
from typing import Any, cast

from rxws import Close
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._format import as_text
from rxws.cli._output import printable

__all__ = ["check_close", "check_message", "missing_messages"]

_CONTEXT = 2  # lines of a diff
_MAX_LINES = 40


def check_message(number: int, expected: str | bytes | None, arrived: str | bytes) -> None:
    """Compare a message with the recorded one.

    Texts that are JSON are equal if they have the same value: the order of keys and white space do
    not matter.

    Args:
        number: Its number, from 1.
        expected: The recorded message; None if there is no other.
        arrived: The message that has arrived.

    Raises:
        Failure: They differ.
    """
    if expected is None:
        raise _differs(f"message {number} is not in the recording:\n+ {as_text(arrived)}")
    if type(arrived) is type(expected) and _canonical(arrived) == _canonical(expected):
        return
    where = f"message {number} differs{_where(expected, arrived)}"
    raise _differs(f"{where}\n{_diff(expected, arrived)}")


def missing_messages(arrived: int, missing: int, expected: str | bytes) -> Failure:
    """Return the error for messages that have not arrived, the first of which was `expected`."""
    return _differs(
        f"{arrived} of {arrived + missing} messages arrived; the next one is missing:\n"
        f"- {as_text(expected)}"
    )


def check_close(recorded: Close | None, close: Close | None) -> None:
    """Compare how the connection ended, if the recorded server has closed it.

    Args:
        recorded: The recorded end; None if the recording ended before.
        close: The end; None if the connection is still open.

    Raises:
        Failure: The close codes differ.
    """
    if recorded is None or recorded.by != "peer":
        return
    wanted = f"in the recording it closed with {recorded.code}"
    if close is None or close.by != "peer":
        raise _differs(f"the server did not close the connection; {wanted}")
    if close.code != recorded.code:
        raise _differs(f"the server closed with {close.code}; {wanted}")


def _differs(what: str) -> Failure:
    return Failure(printable(what), ExitCode.ABNORMAL_CLOSE)


def _parsed(frame: str | bytes) -> Any:
    """Return the value of a JSON text; None for another frame."""
    try:
        return json.loads(frame) if isinstance(frame, str) else None
    except (ValueError, RecursionError):
        return None


def _canonical(frame: str | bytes) -> str | bytes:
    value = _parsed(frame)
    return frame if value is None else json.dumps(value, sort_keys=True)


def _lines(frame: str | bytes) -> list[str]:
    value = _parsed(frame)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False).splitlines()
    return as_text(frame).splitlines()


def _diff(expected: str | bytes, arrived: str | bytes) -> str:
    lines = list(unified_diff(_lines(expected), _lines(arrived), lineterm="", n=_CONTEXT))[2:]
    shown = [line for line in lines if not line.startswith("@@")]
    more = [f"… {len(shown) - _MAX_LINES} more lines"] if len(shown) > _MAX_LINES else []
    return "\n".join([*shown[:_MAX_LINES], *more])


def _where(expected: str | bytes, arrived: str | bytes) -> str:
    """Say where two messages differ."""
    if type(expected) is not type(arrived):
        kinds = {str: "text", bytes: "binary"}
        return f": expected {kinds[type(expected)]}, but {kinds[type(arrived)]} arrived:"
    path = _path(_parsed(expected), _parsed(arrived))
    return f" at {path}:" if path else ":"


def _path(expected: Any, arrived: Any) -> str:
    """Return the path to the first difference of two JSON values, such as `.user.names[1]`."""
    if type(expected) is not type(arrived):
        return ""
    one, two = _items(expected), _items(arrived)
    for name in {**one, **two}:
        if name not in one or name not in two:
            return name
        if not _same(one[name], two[name]):
            return name + _path(one[name], two[name])
    return ""


def _items(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {f".{key}": item for key, item in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return {f"[{index}]": item for index, item in enumerate(cast(Any, value))}
    return {}


def _same(one: Any, two: Any) -> bool:
    return json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True)
