"""Callbacks that raise, and the log of what they raised."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NoReturn

import pytest


def raising(kind: type[BaseException], *args: object) -> Callable[..., NoReturn]:
    """Return a callback that raises a new `kind(*args)` at each call."""

    def fail(*_: object) -> NoReturn:
        raise kind(*args)

    return fail


def one_error(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    """Return the one record that was logged: an error on `rxws`, with a traceback."""
    [record] = caplog.records
    assert (record.name, record.levelno) == ("rxws", logging.ERROR)
    assert record.exc_info is not None
    return record
