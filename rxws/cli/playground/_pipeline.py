"""The pipeline that a visitor composes, and its code."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

from reactivex import Observable

import rxws

from . import _functions
from ._parameters import Choice, Number, Parameter, parse_parameters
from ._steps import STEPS, Step

__all__ = ["MAX_STEPS", "OPTIONS", "Pipeline", "PipelineStep"]

MAX_STEPS = 4

_KIB = 1024
_POLICIES: dict[str, tuple[Any, str]] = {  # what runs, and its code
    "close": ("close", '"close"'),
    "drop_oldest": ("drop_oldest", '"drop_oldest"'),
    "drop_newest": ("drop_newest", '"drop_newest"'),
    "latest": (rxws.overflow.latest(), "rxws.overflow.latest()"),
}
OPTIONS: dict[str, Parameter] = {
    "max_buffer": Number("send buffer", 64, 1, 1024, "KiB"),
    "overflow": Choice(
        "when it is full",
        "close",
        {
            "close": "close with 1013",
            "drop_oldest": "drop the oldest",
            "drop_newest": "drop the newest",
            "latest": "keep only the latest",
        },
    ),
}
_IMPORTS = {  # by the name that the code uses, in their order
    "asyncio": "import asyncio",
    "AsyncIterator": "from collections.abc import AsyncIterator",
    "rx": "import reactivex as rx",
    "ops": "from reactivex import operators as ops",
}
_PROGRAM = '''"""Run it, and connect to ws://127.0.0.1:8080/."""

{standard}

{third_party}import rxws

{functions}
@rxws.websocket(codec=rxws.codecs.text{options})
def handler(conn):
    return {pipeline}


if __name__ == "__main__":
    asyncio.run(rxws.serve(handler, port=8080).serve_forever())
'''


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """A step with its parameters."""

    step: Step
    values: dict[str, Any]

    def operators(self) -> list[Any]:
        """Make the operators."""
        made: Any = self.step.make(**self.values)
        return [*made] if isinstance(made, tuple) else [made]

    def expressions(self) -> list[ast.expr]:
        """Return what makes the operators, as code."""
        body = ast.parse(textwrap.dedent(inspect.getsource(self.step.make))).body[0]
        made = cast(ast.Return, cast(ast.FunctionDef, body).body[-1]).value
        return made.elts if isinstance(made, ast.Tuple) else [cast(ast.expr, made)]

    def code(self) -> list[str]:
        """Return the code of each operator, with values in place of the parameters."""
        source = textwrap.dedent(inspect.getsource(self.step.make)).splitlines()
        return [self._code_of(source, expression) for expression in self.expressions()]

    def _code_of(self, source: list[str], expression: ast.expr) -> str:
        (line,) = source[expression.lineno - 1 : expression.end_lineno]  # each is on one line
        code = line[expression.col_offset : expression.end_col_offset]
        names = [node for node in ast.walk(expression) if isinstance(node, ast.Name)]
        for name in sorted(names, key=lambda node: -node.col_offset):
            if name.id in self.values:
                value = json.dumps(self.values[name.id], ensure_ascii=False)
                start = name.col_offset - expression.col_offset
                code = code[:start] + value + code[start + len(name.id) :]
        return code

    @property
    def detail(self) -> str:
        """The text below the name of the lane."""
        units = {name: getattr(each, "unit", "") for name, each in self.step.parameters.items()}
        return ", ".join(f"{value} {units[name]}".strip() for name, value in self.values.items())


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A chosen pipeline, with the options of its connections."""

    steps: tuple[PipelineStep, ...]
    options: dict[str, Any]

    @classmethod
    def parse(cls, steps: object, options: object) -> Pipeline:
        """Check what a visitor has chosen.

        Raises:
            ValueError: A step does not exist, or a parameter is wrong.
        """
        chosen = cast(list[object], steps) if isinstance(steps, list) else None
        if chosen is None or len(chosen) > MAX_STEPS:
            raise ValueError(f"a pipeline is a list of at most {MAX_STEPS} steps")
        return cls(
            tuple(_parse_step(number, each) for number, each in enumerate(chosen, 1)),
            parse_parameters("the connection", OPTIONS, options),
        )

    def run(self, conn: rxws.Connection[str, str], recording: rxws.Recording) -> Observable[str]:
        """Compose the pipeline of a connection, and record what each step emits."""
        operators: list[Any] = []
        for number, step in enumerate(self.steps, 1):
            operators += [*step.operators(), recording.tap(str(number))]
        return conn.incoming.pipe(*operators)

    def server_options(self) -> dict[str, Any]:
        """Return the options for `rxws.serve`."""
        overflow, _ = _POLICIES[self.options["overflow"]]
        return {"overflow": overflow, "max_buffer": self.options["max_buffer"] * _KIB}

    def lanes(self) -> list[dict[str, str]]:
        """Describe the lanes of the page."""
        return [
            {"id": "incoming", "name": "incoming", "detail": "the server receives"},
            *(
                {"id": str(number), "name": each.step.title, "detail": each.detail}
                for number, each in enumerate(self.steps, 1)
            ),
            {"id": "outgoing", "name": "outgoing", "detail": "the server sends"},
            {"id": "received", "name": "received", "detail": "the client reads"},
        ]

    def code(self) -> str:
        """Return a program that serves this pipeline."""
        expressions = [each for step in self.steps for each in step.expressions()]
        names = set(_names(expressions)) | {"asyncio"}
        functions = [name for name in _functions.__all__ if name in names]
        sources = [inspect.getsource(getattr(_functions, name)) for name in functions]
        names |= {name for source in sources for name in _names(ast.parse(source).body)}
        imports = {name: line for name, line in _IMPORTS.items() if name in names}
        third_party = [line for line in imports.values() if "reactivex" in line]
        standard = [line for line in imports.values() if "reactivex" not in line]
        _, overflow = _POLICIES[self.options["overflow"]]
        size = self.options["max_buffer"]
        return _PROGRAM.format(
            standard="\n".join(standard),
            third_party="\n".join([*third_party, "", ""] if third_party else []),
            functions="".join(f"\n{source}\n" for source in sources),
            options=f", overflow={overflow}, max_buffer={size} << 10",
            pipeline=_pipe([code for step in self.steps for code in step.code()]),
        )


def _parse_step(number: int, data: object) -> PipelineStep:
    fields = dict(cast(dict[str, Any], data)) if isinstance(data, dict) else {}
    name = fields.pop("name", None)
    if not isinstance(name, str) or name not in STEPS:
        raise ValueError(f"step {number}: there is no step {name!r:.40}")
    step = STEPS[name]
    owner = f"step {number}, {step.title}"
    return PipelineStep(step, parse_parameters(owner, step.parameters, fields))


def _names(nodes: list[Any]) -> Iterator[str]:
    for node in nodes:
        yield from (each.id for each in ast.walk(node) if isinstance(each, ast.Name))


def _pipe(operators: list[str]) -> str:
    if not operators:
        return "conn.incoming"
    return "".join(
        ["conn.incoming.pipe(\n", *(f"        {each},\n" for each in operators), "    )"]
    )
