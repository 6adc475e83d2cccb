"""A picture as SVG."""

from __future__ import annotations

from .model import Picture
from .theme import CSS

__all__ = ["svg"]


def svg(picture: Picture, width: int = 760, window: float | None = None) -> str:
    """Draw a picture as SVG."""
    del window
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="rxws" role="img" width="{width}" '
        f'viewBox="0 0 {width} {30 + 58 * len(picture.tracks)}"><style>{CSS}</style></svg>'
    )
