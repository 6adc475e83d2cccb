"""Schedulers: on which thread and at which time operators run."""
