"""Attackers on raw sockets, and the process that they attack."""
