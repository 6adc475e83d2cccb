"""Marble diagrams: what streams emit over time, drawn as SVG or text."""

from .labels import RecordedObservable
from .model import Diagram, Mark, Nesting, Role, Step, Track, Wait, WaitKind, in_order
from .svg import svg
from .text import text, to_ascii

__all__ = [
    "Diagram",
    "Mark",
    "Nesting",
    "RecordedObservable",
    "Role",
    "Step",
    "Track",
    "Wait",
    "WaitKind",
    "in_order",
    "svg",
    "text",
    "to_ascii",
]
