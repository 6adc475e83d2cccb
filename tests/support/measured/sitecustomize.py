"""Measures the coverage of a process; Python imports this at its start."""

import coverage

coverage.process_startup()
