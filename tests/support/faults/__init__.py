"""Connections that are cut at random."""
