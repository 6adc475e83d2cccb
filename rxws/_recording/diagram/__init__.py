"""Marble diagrams: what streams did and when, as a picture for people."""

from .model import Diagram, Mark, Track
from .svg import svg
from .text import text

__all__ = ["Diagram", "Mark", "Track", "svg", "text"]
