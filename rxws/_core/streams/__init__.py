"""Lightweight Observables, and the chains of operators that begin with them."""
