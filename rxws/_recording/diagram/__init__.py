"""Marble diagrams: what streams emit over time, drawn as SVG or text."""

from .model import Diagram, Mark, Track
from .svg import svg
from .text import text

__all__ = ["Diagram", "Mark", "Track", "svg", "text"]
