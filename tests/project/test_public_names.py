"""The names that a user sees on `rxws.`."""

from __future__ import annotations

import ast
import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any, TypeVar

import pytest

import rxws
from support import ROOT

SCRIPT = """
import json, sys
import rxws
alone = dir(rxws)
import rxws.testing, rxws.viz
json.dump([alone, dir(rxws)], sys.stdout)
"""


def test_dir_lists_the_public_names_only() -> None:
    """`dir(rxws)` is `__all__` and the version; `testing` and `viz` join when imported."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, check=True
    )
    alone, with_extras = json.loads(done.stdout)
    assert alone == sorted([*rxws.__all__, "__version__"])
    assert with_extras == sorted([*rxws.__all__, "__version__", "testing", "viz"])


@pytest.mark.parametrize("part", ["rxws.hub", "rxws.testing", "rxws.viz"])
def test_dir_of_a_part_lists_its_public_names(part: str) -> None:
    """Completion after `rxws.testing.` shows what users import, and no internal modules."""
    module = import_module(part)
    assert dir(module) == sorted(module.__all__)


def test_dir_lists_the_parts_that_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """`testing` and `viz` are not in `dir(rxws)` until you import them."""
    parts = ["testing", "viz"]
    for part in parts:
        import_module(f"rxws.{part}")
    names = {*rxws.__all__, "__version__"}
    assert set(dir(rxws)) == {*names, *parts}
    for part in parts:
        monkeypatch.delattr(rxws, part)
    assert set(dir(rxws)) == names


def test_every_public_name_exists() -> None:
    """Each name of `__all__` can be imported, and is listed once."""
    assert all(hasattr(rxws, name) for name in rxws.__all__)
    assert len(set(rxws.__all__)) == len(rxws.__all__)


HUB_SCRIPT = """
import sys
import rxws.hub
assert "redis" not in sys.modules
from rxws.hub import *
assert RedisBackplane is rxws.hub.RedisBackplane
assert set(rxws.hub.__all__) == set(dir(rxws.hub))
"""


def test_all_names_of_the_hub_can_be_imported() -> None:
    """`from rxws.hub import *` has `RedisBackplane`; before that, redis-py is not imported."""
    subprocess.run([sys.executable, "-c", HUB_SCRIPT], cwd=ROOT, check=True)
    assert len(set(rxws.hub.__all__)) == len(rxws.hub.__all__)


def _names_of_the_hub(module: str) -> set[str]:
    """Return the names that a module defines itself, or imports from the hub."""
    found: set[str] = set()
    for node in ast.parse(inspect.getsource(sys.modules[module])).body:
        match node:
            case ast.ImportFrom(module=source, level=level, names=names):
                if level or (source or "").startswith("rxws.hub"):
                    found |= {each.asname or each.name for each in names}
            case ast.AnnAssign(target=ast.Name(id=name)):
                found.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                found.add(name)
            case _:
                pass
    return found


def _shown(name: str) -> set[str]:
    """Return the members of a class that the reference shows."""
    page = (ROOT / "docs/reference/api-hub.md").read_text("utf-8")
    _, _, options = page.partition(f"::: rxws.hub.{name}\n")
    options = options.partition(":::")[0]
    listed = re.search(r"members: \[(.*)\]", options)
    members = set(listed[1].split(", ")) if listed else set[str]()
    return members if "merge_init_into_class: false" in options else {*members, "__init__"}


def _annotations(value: Any, members: set[str]) -> Iterator[str]:
    """Yield the annotations of a function, or of a class and its members."""
    yield from map(str, getattr(value, "__annotations__", {}).values())
    if isinstance(value, type):
        for name in members & set(vars(value)):
            member = vars(value)[name]
            member = getattr(member, "fget", getattr(member, "__func__", member))
            yield from _annotations(member, set())


@pytest.mark.parametrize("name", rxws.hub.__all__)
def test_names_in_signatures_of_the_hub_are_public(name: str) -> None:
    """You can annotate your own functions as those of the hub are."""
    value = getattr(rxws.hub, name)
    module = sys.modules.get(getattr(value, "__module__", ""))
    if not (inspect.isfunction(value) or isinstance(value, type)) or module is None:
        return  # an alias, such as HubStatus
    used = {
        node.id
        for text in _annotations(value, _shown(name))
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Name) and node.id != value.__name__
    }
    private = {
        each
        for each in used - {*rxws.hub.__all__, *rxws.__all__}
        if each in vars(module) and not isinstance(vars(module)[each], TypeVar)
        if each in _names_of_the_hub(module.__name__)
    }
    assert private == set()
