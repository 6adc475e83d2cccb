"""The logger."""

from __future__ import annotations

import logging

from rxws._core.log import logger


def test_there_is_one_logger_and_it_has_the_name_of_the_library() -> None:
    """A program configures `rxws`; the library adds no handler and no level to it."""
    assert logger is logging.getLogger("rxws")
    assert logger.handlers == []
    assert logger.level == logging.NOTSET
