"""Live flows as pictures, in a notebook and outside."""

from .register import stop_all
from .view import View
from .watching import views, watch

__all__ = ["View", "stop_all", "views", "watch"]
