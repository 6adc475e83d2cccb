"""Attackers, and the process that they attack."""
