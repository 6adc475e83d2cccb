"""The playground: a page to compose a pipeline, and to watch its messages as marbles."""

from ._app import add_playground

__all__ = ["add_playground"]
