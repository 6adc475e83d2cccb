"""Every Python block of README.md and docs/ runs.

A page is one program. Its blocks run in order in one namespace and may `await` at the top level, as
in a notebook. `web.run_app(app)` serves `app` until the end of the page; in later blocks
`localhost:8080` is that server. `redis://localhost` is a Redis server that runs until the end of
the page. A block `text title="prints"` has the output of the block before it. A block after the
comment `<!-- not run: reason -->` is only compiled.
"""

from __future__ import annotations

import ast
import asyncio
import doctest
import importlib
import inspect
import re
import runpy
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from pkgutil import walk_packages
from types import CodeType, ModuleType
from typing import Any

import pytest
from aiohttp import web

import rxws
from rxws import testing, viz
from rxws.status import TRANSITIONS
from support import ROOT
from support.processes.redis_server import redis_servers

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
REDIS_URL = "redis://localhost"
DEADLINE = 30.0  # seconds a block may take
FENCE = re.compile(
    r"(?P<marker><!-- not run: .+? -->\s*)?"
    r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass
class Block:
    """A Python block of a page: its line, source and expected output, and whether it runs."""

    page: Path
    line: int
    source: str
    prints: str | None
    runs: bool

    def compile(self, port: int | None = None, redis_url: str = REDIS_URL) -> CodeType:
        source = self.source.replace(REDIS_URL, redis_url)
        if port is not None:
            source = source.replace("localhost:8080", f"127.0.0.1:{port}")
        # The empty lines make the line numbers of a traceback match the page.
        # dont_inherit: do not apply this file's __future__ imports.
        code: CodeType = compile(
            "\n" * self.line + source,
            self.page,
            "exec",
            flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            dont_inherit=True,
        )
        return code


def python_blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    blocks: list[Block] = []
    for fence in FENCE.finditer(text):
        indent, info = fence["indent"], fence["info"].strip()
        body = re.sub(f"^{indent}", "", fence["body"], flags=re.MULTILINE)
        if info.split(" ")[0] == "python":
            line = text.count("\n", 0, fence.start("info")) + 1
            blocks.append(Block(page, line, body, None, not fence["marker"]))
        elif info == 'text title="prints"':
            blocks[-1].prints = body
    return blocks


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Start a Redis server when it is called, and return its URL."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(redis_servers(tmp_path))().url


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
async def test_the_blocks_of_a_page_run(
    page: Path,
    redis_url: Callable[[], str],  # before `serve`, so that Redis ends after the applications
    serve: Callable[[web.Application], Awaitable[int]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The blocks of a page run in order and print what the page says."""
    served: list[web.Application] = []
    monkeypatch.setattr(web, "run_app", served.append)
    namespace: dict[str, Any] = {"__name__": "docs"}
    port: int | None = None
    blocks = python_blocks(page)
    uses_redis = any(REDIS_URL in block.source for block in blocks if block.runs)
    url = redis_url() if uses_redis else REDIS_URL
    for block in blocks:
        code = block.compile(port, url)
        if not block.runs:
            continue
        result = eval(code, namespace)
        if inspect.iscoroutine(result):
            async with asyncio.timeout(DEADLINE):
                await result
        if served:
            port = await serve(served.pop())
        printed = capsys.readouterr().out
        if block.prints is not None:
            assert printed == block.prints, f"{block.page.name}:{block.line}"


def test_every_page_is_in_the_navigation() -> None:
    """The navigation of mkdocs.yml lists each tested page once."""
    in_navigation = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(in_navigation) == sorted(
        p.relative_to(ROOT / "docs").as_posix() for p in PAGES[1:]
    )
    assert len([block for page in PAGES for block in python_blocks(page) if block.runs]) > 100


def test_guides_have_code_that_runs() -> None:
    """The tutorial and each how-to and migration page have code that runs."""
    pages = [ROOT / "docs/tutorial.md", *(ROOT / "docs").glob("howto/*.md")]
    for page in [*pages, *(ROOT / "docs").glob("migrating/*.md")]:
        assert [block for block in python_blocks(page) if block.runs], page.name


def test_the_pictures_are_current() -> None:
    """Each picture matches what docs/images/flows.py draws, and a page shows it."""
    pages = "".join(page.read_text("utf-8") for page in PAGES)
    drawn = runpy.run_path(str(ROOT / "docs/images/flows.py"))["pictures"]()
    for name, text in drawn.items():
        assert (ROOT / "docs/images" / name).read_text("utf-8") == text, (
            "stale: run `python docs/images/flows.py`"
        )
        assert f'--8<-- "docs/images/{name}"' in pages
    assert "REACTIVE" in drawn["landing.svg"]


def test_the_status_picture_matches_the_transitions() -> None:
    """The status picture has one arrow for each documented transition, and a page shows it."""
    drawn = runpy.run_path(str(ROOT / "docs/images/status.py"))
    steps = {(before, then) for before, after in TRANSITIONS.items() for then in after}
    assert set(drawn["ARROWS"]) == steps
    assert set(drawn["PLACES"]) == set(TRANSITIONS)
    text = drawn["FILE"].read_text("utf-8")
    assert text == drawn["picture"](), "stale: run `python docs/images/status.py`"
    assert text.count("marker-end") == len(steps) + 1  # and the initial arrow
    assert "images/status.svg" in "".join(page.read_text("utf-8") for page in PAGES)


def test_the_layers_picture_matches_the_contract() -> None:
    """The picture shows the layers that `make lint` checks, and the architecture page has it."""
    drawn = runpy.run_path(str(ROOT / "docs/images/layers.py"))
    names = [name for row in drawn["layers"]() for name in row]
    folders = {path.name for path in (ROOT / "rxws").iterdir() if (path / "__init__.py").exists()}
    modules = {path.stem for path in (ROOT / "rxws").glob("[a-z]*.py")}
    assert set(names) == folders | modules
    captions = [
        drawn["summary"](name) for row in drawn["layers"]() if len(row) <= 2 for name in row
    ]
    assert max(map(len, captions)) <= 56, "a box is not wider"
    text = drawn["FILE"].read_text("utf-8")
    assert text == drawn["picture"](), "stale: run `python docs/images/layers.py`"
    assert "images/layers.svg" in (ROOT / "docs/architecture.md").read_text("utf-8")


@pytest.mark.parametrize("page", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_paths_on_the_pages_for_contributors_exist(page: str) -> None:
    """Each path that a page for contributors names exists, relative to the root or to `rxws/`."""
    text = (ROOT / page).read_text("utf-8")
    named = set(re.findall(r"`((?:\w[\w.-]*/|_)[\w/.-]*)`", text)) - {"site/", ".venv/"}
    missing = [n for n in named if not (ROOT / n).exists() and not (ROOT / "rxws" / n).exists()]
    assert not missing
    assert len(named) > 5


@pytest.mark.parametrize(
    "name",
    ["rxws", *(module.name for module in walk_packages(rxws.__path__, "rxws."))],
)
def test_the_examples_in_docstrings_run(name: str) -> None:
    """The doctests of each module pass."""
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize(
    ("page", "module"),
    [
        ("api.md", rxws),
        ("api-hub.md", rxws.hub),
        ("api-metrics.md", rxws.metrics),
        ("api-rpc.md", rxws.rpc),
        ("api-testing.md", testing),
        ("api-viz.md", viz),
    ],
    ids=["rxws", "rxws.hub", "rxws.metrics", "rxws.rpc", "rxws.testing", "rxws.viz"],
)
def test_the_reference_has_every_public_name(page: str, module: ModuleType) -> None:
    """Each page of the reference lists exactly the public names of its module."""
    shown = re.findall(
        r"^::: ([\w.]+)$", (ROOT / "docs/reference" / page).read_text("utf-8"), re.MULTILINE
    )
    assert sorted(shown) == sorted(f"{module.__name__}.{name}" for name in module.__all__)
