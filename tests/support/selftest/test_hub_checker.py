"""The checker of the hub's fault run finds each kind of mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from support.faults.hub_checker import check

Log: TypeAlias = list[list[Any]]

LEFT: Log = [
    ["status", 0.0, "Connected", None],
    ["message", "t", "left:begin", "e", 1],
    ["message", "t", "right:begin", "e", 2],
    ["confirmed", "t", "left:0", "e", 3],
    ["message", "t", "left:0", "e", 3],
    ["message", "t", "right:0", "e", 4],
    ["gap", "t", ["e", 4], ["f", 2], "restarted"],
    ["message", "t", "right:1", "f", 2],
    ["message", "t", "right:2", "f", 3],
]
RIGHT: Log = [
    ["message", "t", "right:begin", "e", 2],
    ["message", "t", "left:0", "e", 3],
    ["message", "t", "right:0", "e", 4],
    ["confirmed", "t", "right:0", "e", 4],
    ["gap", "t", ["e", 4], ["f", 2], "restarted"],
    ["confirmed", "t", "right:1", "f", 2],
    ["confirmed", "t", "right:2", "f", 3],
    ["message", "t", "right:1", "f", 2],
    ["message", "t", "right:2", "f", 3],
]


def write(directory: Path, **logs: Log) -> list[Path]:
    paths = [directory / f"{name}.log" for name in logs]
    for path, log in zip(paths, logs.values(), strict=True):
        path.write_text("".join(json.dumps(event) + "\n" for event in log))
    return paths


def test_a_run_that_keeps_the_promises(tmp_path: Path) -> None:
    """It passes, and its events are counted."""
    counts = check(write(tmp_path, left=LEFT, right=RIGHT))
    assert counts == {"message": 11, "confirmed": 4, "gap: restarted": 2}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda log: log.insert(5, log[4]), "left:0 twice"),
        (lambda log: log.pop(4), r"\['e', 4\] instead of \['e', 3\]"),
        (lambda log: log.pop(6), r"\['f', 2\] instead of \['e', 5\]"),
        (lambda log: log.pop(), "right:2 at f:3 is missing, and in no gap"),
        (lambda log: log[6].__setitem__(2, ["e", 3]), r"\['e', 4\], then a gap after"),
        (lambda log: log[6].__setitem__(3, ["f", 1]), r"\['f', 2\] instead of \['f', 1\]"),
        (lambda log: log[5].__setitem__(2, "other:0"), r"two values at \('t', 'e', 4\)"),
        (lambda log: log.append(["message", "t", "left:-1", "f", 4]), "left:-1 is late"),
    ],
)
def test_a_run_that_breaks_a_promise(
    tmp_path: Path, change: Callable[[Log], object], text: str
) -> None:
    """It fails, and the message names the place."""
    left = [list(event) for event in LEFT]
    change(left)
    with pytest.raises(AssertionError, match=text):
        check(write(tmp_path, left=left, right=RIGHT))
