"""A chain of operators, given as text: `-p 'ops.map(json.loads), ops.debounce(.2)'`."""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import click
import reactivex as rx
from reactivex import Observable
from reactivex import operators as ops

import rxws
from rxws._core.errors import short_repr

from ._exit_codes import ExitCode
from ._failures import Failure

__all__ = ["Chain", "parse_chain"]

_NAMES: dict[str, Any] = {
    **{name: getattr(rxws.operators, name) for name in rxws.operators.__all__ if name.islower()},
    "json": json,
    "ops": ops,
    "rx": rx,
    "rxws": rxws,
}

_EXAMPLE = "An operator is written as ops.map(json.loads)."
_HELP = f"The names are {', '.join(_NAMES)}, and Python's own."


class _Step(NamedTuple):
    text: str
    operator: Any


class _Input:
    """The last value and the error that a step received."""

    def __init__(self) -> None:
        self.last: tuple[Any, ...] = ()
        self.error: Exception | None = None

    def on_next(self, value: Any) -> None:
        self.last = (value,)

    def on_error(self, error: Exception) -> None:
        self.error = error


class Chain:
    """Operators that are applied one after the other; an error names the one that failed."""

    def __init__(self, steps: Sequence[_Step] = ()) -> None:
        self._steps = steps

    def __bool__(self) -> bool:
        return bool(self._steps)

    def __call__(self, source: Observable[Any]) -> Observable[Any]:
        """Apply the operators.

        Raises:
            click.BadParameter: One of them is no operator.
        """
        for step in self._steps:
            source = _apply(step, source)
        return source


def _apply(step: _Step, source: Observable[Any]) -> Observable[Any]:
    before = _Input()

    def name_step(error: Exception, _: Observable[Any]) -> Observable[Any]:
        if error is before.error:
            return rx.throw(error)
        what = f" for {short_repr(before.last[0])}" if before.last else ""
        message = f"{step.text} failed{what}: {type(error).__name__}: {error}"
        return rx.throw(Failure(message, ExitCode.ABNORMAL_CLOSE))

    watched = source.pipe(ops.do_action(before.on_next, before.on_error))
    try:
        result: Observable[Any] | None = watched.pipe(step.operator)
    except Exception as error:
        message = f"{step.text}: {type(error).__name__}: {error}. {_EXAMPLE}"
        raise click.BadParameter(message) from error
    if not isinstance(result, Observable):
        raise click.BadParameter(f"{step.text} is not an operator. {_EXAMPLE}")
    return result.pipe(ops.catch(name_step))


def parse_chain(text: str) -> Chain:
    """Parse operators that are separated by commas.

    Raises:
        click.BadParameter: The text is not Python, an expression raises, or one is no operator.
    """
    source = f"({text}\n)"
    try:
        body = ast.parse(source, mode="eval").body
    except SyntaxError as error:
        raise click.BadParameter(f"{text}: {error.msg}.") from error
    nodes = body.elts if isinstance(body, ast.Tuple) else [body]
    chain = Chain([_evaluate(ast.get_source_segment(source, node) or text, node) for node in nodes])
    chain(rx.never())  # or raise now, not when connected
    return chain


def _evaluate(text: str, node: ast.expr) -> _Step:
    try:
        value: Any = eval(compile(ast.Expression(node), "-p", "eval"), {**_NAMES})
    except Exception as error:
        hint = f" {_HELP}" if isinstance(error, NameError) else ""
        raise click.BadParameter(f"{text}: {type(error).__name__}: {error}.{hint}") from error
    return _Step(text, value)
