"""The logger of rxws."""

import logging

__all__ = ["logger"]

logger = logging.getLogger("rxws")
