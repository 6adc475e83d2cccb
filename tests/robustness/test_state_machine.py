"""Whatever happens to a session in whatever order, the close table and the counters hold."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from support.model.machine import SessionMachine
from support.processes.server import SOAK


@pytest.mark.soak
@pytest.mark.promise("counted")
@pytest.mark.promise("once")
def test_every_message_is_accounted_for_in_any_order_of_events() -> None:
    """In any order of events, each message is sent, delivered, queued or counted as dropped."""
    run_state_machine_as_test(
        SessionMachine,
        settings=settings(
            max_examples=600 if SOAK else 120,
            stateful_step_count=50 if SOAK else 30,
            derandomize=not SOAK,
            deadline=None,
            print_blob=True,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
