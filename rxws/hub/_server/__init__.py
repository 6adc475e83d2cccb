"""Serves topics to clients of the protocol."""

from .options import Action, Allow, Credentials, Identify, ServeOptions, TokenExpired
from .serve import serve
from .topics import ServedHub, ServedTopics

__all__ = [
    "Action",
    "Allow",
    "Credentials",
    "Identify",
    "ServeOptions",
    "ServedHub",
    "ServedTopics",
    "TokenExpired",
    "serve",
]
