"""Live marble diagrams and frame tables; they work outside of a notebook, too."""

from .flow_view.view import View
from .flow_view.watching import views, watch
from .frame_table.view import FramesView, frames
from .running import stop_all

__all__ = ["FramesView", "View", "frames", "stop_all", "views", "watch"]


def __dir__() -> list[str]:
    """List the public names."""
    return __all__
