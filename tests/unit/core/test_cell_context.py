"""Callbacks run in the context of the notebook cell that subscribed; with a fake kernel."""

from __future__ import annotations

import contextvars
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from reactivex import Observer

from rxws._core.streams.cell_context import in_current_context, shell
from rxws._core.upstream import Upstreams, collect_upstreams
from rxws.viz import notebook
from support.virtual.session import VirtualSession

CELL = contextvars.ContextVar[str]("cell", default="none")


class FakeShell:
    """The part of IPython's kernel shell that rxws uses."""

    kernel = object()
    parent: Any = None
    compile = SimpleNamespace(
        format_code_name=lambda name: ("Cell", "In[3]") if name.startswith("/cell") else None
    )

    def get_parent(self) -> Any:
        return self.parent


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> FakeShell:
    """A fake kernel in this process, which records what is displayed."""
    fake_shell: Any = FakeShell()
    ipython: Any = ModuleType("IPython")
    ipython.get_ipython = lambda: fake_shell
    fake_shell.shown = []
    of_display: Any = ModuleType("IPython.display")
    of_display.display = lambda *args, **options: fake_shell.shown.append(
        (CELL.get(), args, options)
    )
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", of_display)
    return fake_shell  # type: ignore[no-any-return] # it is a FakeShell


def test_there_is_no_shell_outside_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no shell outside a kernel, nor in IPython's terminal, which has one output."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert shell() is None
    assert notebook.current_cell() is notebook.current_run() is None
    assert notebook.traceback_name("/a/b.py") == 'File "/a/b.py"'
    terminal: Any = ModuleType("IPython")
    terminal.get_ipython = object
    monkeypatch.setitem(sys.modules, "IPython", terminal)
    monkeypatch.setitem(sys.modules, "ipykernel", ModuleType("ipykernel"))
    assert shell() is None


def test_callbacks_run_in_the_context_of_the_subscription(kernel: FakeShell) -> None:
    """Functions and observers are called in the context in which they subscribed."""
    virtual, seen = VirtualSession(), list[str]()
    CELL.set("one")
    virtual.conn.incoming.subscribe(lambda _: seen.append(CELL.get()))
    CELL.set("two")
    observer: Observer[Any] = Observer(on_completed=lambda: seen.append(CELL.get()))
    virtual.conn.incoming.subscribe(observer)
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
    """Outside a kernel callbacks are not wrapped and run in the caller's context."""
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    virtual, seen = VirtualSession(), list[str]()
    CELL.set("one")
    virtual.conn.incoming.subscribe(lambda _: seen.append(CELL.get()))
    CELL.set("two")
    virtual.peer.message("a")
    virtual.settle()
    assert seen == ["two"]


def test_a_callback_may_call_itself() -> None:
    """A kept callback may call itself, though a context cannot be entered twice."""
    seen: list[int] = []

    def count(number: int) -> None:
        seen.append(number)
        if number:
            kept(number - 1)

    kept: Any = in_current_context(count)
    kept(2)
    assert seen == [2, 1, 0]
    assert in_current_context(None) is None


def test_subscriptions_within_a_callback_are_not_collected_upstream() -> None:
    """A subscription within a callback does not count as upstream of the chain."""
    virtual = VirtualSession()
    flows, others = Upstreams(), Upstreams()
    with collect_upstreams(flows):
        kept: Any = in_current_context(lambda: virtual.conn.incoming.subscribe())
    with collect_upstreams(others):
        kept()
    assert [*flows, *others] == []


def test_a_cell_is_known_by_its_id_or_its_text(kernel: Any) -> None:
    """A cell is identified by its id if the front end sends one, else by its text."""
    assert notebook.in_kernel()
    assert notebook.current_cell() is None
    kernel.parent = {"header": {"msg_id": "m1"}, "metadata": {}, "content": {"code": "1 + 1"}}
    assert notebook.current_cell() == "1 + 1"
    kernel.parent["metadata"]["cellId"] = "c1"
    assert notebook.current_cell() == "c1"
    assert notebook.current_run() == "m1"
    assert notebook.traceback_name("/cell/3") == "Cell In[3]"


def test_updates_are_shown_in_an_empty_context(kernel: Any) -> None:
    """Updates are displayed in an empty context, as those of a finished cell are dropped."""
    CELL.set("one")
    notebook.show({"text/plain": "a"}, "id")
    notebook.show({"text/plain": "b"}, "id", update=True)
    options = {"raw": True, "display_id": "id"}
    assert kernel.shown == [
        ("one", ({"text/plain": "a"},), {**options, "update": False}),
        ("none", ({"text/plain": "b"},), {**options, "update": True}),
    ]
