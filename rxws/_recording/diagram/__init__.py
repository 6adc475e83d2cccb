"""Marble diagrams: what streams did and when, as a picture for people."""

from .model import Mark, Picture, Track
from .svg import svg
from .text import text

__all__ = ["Mark", "Picture", "Track", "svg", "text"]
