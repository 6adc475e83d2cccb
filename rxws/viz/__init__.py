"""Live flows as pictures, in a notebook and outside."""

from .frames import FramesView, frames
from .register import stop_all
from .view import View
from .watching import views, watch

__all__ = ["FramesView", "View", "frames", "stop_all", "views", "watch"]
