"""`rxws hub`: a group of commands."""

from ._main import LazyGroup

__all__ = ["command"]

command = LazyGroup(
    name="hub",
    help="Work with the topics of a hub.",
    commands_in={"tail": ("hub_tail", "Follow a topic.")},
)
