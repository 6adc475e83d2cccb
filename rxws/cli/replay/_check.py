"""Compare what arrives with a recording."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import unified_diff
from typing import Any, cast

from rxws import Close
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._format import as_text
from rxws.cli._output import printable

__all__ = ["Check"]

_CONTEXT = 2  # lines of a diff
_MAX_LINES = 40


class Check:
    """Compares messages with those of a recording, one by one.

    Texts that are JSON are equal if they have the same value: the order of keys and white space do
    not matter.
    """

    def __init__(self, expected: Sequence[str | bytes], close: Close | None) -> None:
        self._expected = expected
        self._close = close if close is not None and close.by == "peer" else None
        self._arrived = 0

    def message(self, arrived: str | bytes) -> None:
        """Compare the next message.

        Raises:
            Failure: It differs, or is one too many.
        """
        index = self._arrived
        self._arrived += 1
        if index >= len(self._expected):
            raise _differs(f"message {index + 1} is not in the recording:\n+ {as_text(arrived)}")
        expected = self._expected[index]
        if type(arrived) is type(expected) and _canonical(arrived) == _canonical(expected):
            return
        where = f"message {index + 1} of {len(self._expected)} differs{_where(expected, arrived)}"
        raise _differs(f"{where}\n{_diff(expected, arrived)}")

    def end(self, close: Close | None) -> None:
        """Compare the end; `close` is None if the connection is still open.

        Raises:
            Failure: Messages are missing, or the close code differs.
        """
        if self._arrived < len(self._expected):
            raise _differs(
                f"{self._arrived} of {len(self._expected)} messages arrived; the next one is "
                f"missing:\n- {as_text(self._expected[self._arrived])}"
            )
        if self._close is None:
            return
        wanted = f"in the recording it closed with {self._close.code}"
        if close is None or close.by != "peer":
            raise _differs(f"the server did not close the connection; {wanted}")
        if close.code != self._close.code:
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
