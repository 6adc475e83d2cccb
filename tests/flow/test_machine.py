"""Whatever happens to a session, in whatever order, the close table and the books hold."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from loads import SOAK
from machine import SessionMachine

TestSession = SessionMachine.TestCase
TestSession.settings = settings(
    max_examples=4000 if SOAK else 120,
    stateful_step_count=50 if SOAK else 30,
    derandomize=not SOAK,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
