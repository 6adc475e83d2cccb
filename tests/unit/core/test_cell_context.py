"""Callbacks in the context of the cell that subscribed, in a kernel that is made believe."""

from __future__ import annotations

import contextvars
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from reactivex import Observer

from rxws._core.cell_context import keep, shell
from rxws._core.upstream import collect_upstreams
from rxws.viz import notebook
from support.virtual.session import VirtualSession

CELL = contextvars.ContextVar[str]("cell", default="none")


class Shell:
    """IPython's shell in a kernel, as much of it as is asked for."""

    kernel = object()
    parent: Any = None
    compile = SimpleNamespace(
        format_code_name=lambda name: ("Cell", "In[3]") if name.startswith("/cell") else None
    )

    def get_parent(self) -> Any:
        return self.parent


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A kernel in this process; nothing is shown by it but noted."""
    made: Any = Shell()
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: made
    made.shown = []
    of_display: Any = ModuleType("IPython.display")
    of_display.display = lambda *args, **options: made.shown.append((CELL.get(), args, options))
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", of_display)
    return made  # type: ignore[no-any-return] # it is one


def test_there_is_no_shell_outside_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor in a terminal with IPython, where what is printed has one place only."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert shell() is None
    assert notebook.cell_of_now() is notebook.run_of_now() is None
    assert notebook.place_of("/a/b.py") == 'File "/a/b.py"'
    terminal: Any = ModuleType("IPython")
    terminal.get_ipython = object
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert shell() is None


def test_callbacks_run_in_the_context_of_who_subscribes(kernel: Shell) -> None:
    """Those of a function, and those of an observer, of a value, of the end, of a late comer."""
    virtual, seen = VirtualSession(), list[str]()
    CELL.set("one")
    virtual.conn.incoming.subscribe(lambda _: seen.append(CELL.get()))
    CELL.set("two")
    told: Observer[Any] = Observer(on_completed=lambda: seen.append(CELL.get()))
    virtual.conn.incoming.subscribe(told)
    CELL.set("three")
    virtual.peer.message("a")
    virtual.peer.close(1000)
    virtual.settle()
    assert seen == ["one", "two"]
    virtual.conn.closed.subscribe(lambda _: seen.append(CELL.get()))
    assert seen[-1] == "three"


def test_outside_a_kernel_callbacks_run_in_the_callers_context(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing is wrapped there: it costs nothing."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    virtual, seen = VirtualSession(), list[str]()
    CELL.set("one")
    virtual.conn.incoming.subscribe(lambda _: seen.append(CELL.get()))
    CELL.set("two")
    virtual.peer.message("a")
    virtual.settle()
    assert seen == ["two"]


def test_a_callback_may_call_itself() -> None:
    """One context is not entered twice."""
    seen: list[int] = []

    def count(number: int) -> None:
        seen.append(number)
        if number:
            kept(number - 1)

    kept: Any = keep(count)
    kept(2)
    assert seen == [2, 1, 0]
    assert keep(None) is None


def test_what_a_callback_subscribes_is_not_its_subscribers() -> None:
    """Who gathers the flows below a chain gathers none that a value brings later."""
    virtual = VirtualSession()
    with collect_upstreams() as flows:
        kept: Any = keep(lambda: virtual.conn.incoming.subscribe())
    with collect_upstreams() as others:
        kept()
    assert flows == others == []


def test_a_cell_is_known_by_its_id_or_its_text(kernel: Any) -> None:
    """Its id is the front end's; not all send one. A run has one name in any case."""
    assert notebook.in_kernel()
    assert notebook.cell_of_now() is None
    kernel.parent = {"header": {"msg_id": "m1"}, "metadata": {}, "content": {"code": "1 + 1"}}
    assert notebook.cell_of_now() == "1 + 1"
    kernel.parent["metadata"]["cellId"] = "c1"
    assert notebook.cell_of_now() == "c1"
    assert notebook.run_of_now() == "m1"
    assert notebook.place_of("/cell/3") == "Cell In[3]"


def test_updates_are_shown_in_an_empty_context(kernel: Any) -> None:
    """What is shown first goes to its cell; what a cell that is over updates would be dropped."""
    CELL.set("one")
    notebook.show({"text/plain": "a"}, "id")
    notebook.show({"text/plain": "b"}, "id", update=True)
    options = {"raw": True, "display_id": "id"}
    assert kernel.shown == [
        ("one", ({"text/plain": "a"},), {**options, "update": False}),
        ("none", ({"text/plain": "b"},), {**options, "update": True}),
    ]
