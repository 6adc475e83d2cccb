"""The logger of rxws; a fault that nobody observes is logged on it, once."""

from __future__ import annotations

import logging

__all__ = ["logger"]

logger = logging.getLogger("rxws")
