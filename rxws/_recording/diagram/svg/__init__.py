"""Draw a diagram as SVG."""

from .picture import svg

__all__ = ["svg"]
