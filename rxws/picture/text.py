"""A picture as text for terminals."""

from __future__ import annotations

from .model import Picture

__all__ = ["text"]


def text(picture: Picture, cols: int = 48) -> str:
    """Draw a picture with characters."""
    return "\n".join([picture.title, *(f"{track.name} {'─' * cols}" for track in picture.tracks)])
