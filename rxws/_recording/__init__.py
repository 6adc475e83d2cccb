"""Recordings of streams, and marble diagrams drawn from them."""
