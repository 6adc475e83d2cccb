"""Recordings of streams, and their marble diagrams."""
