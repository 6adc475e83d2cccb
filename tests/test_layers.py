"""The house's layers (which module of rxws may import which), read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rxws"

# From the top down. A module imports modules of lower layers only. A new module gets a place here.
LAYERS: list[set[str]] = [
    {"__init__"},  # the public names
    {"cli", "viz", "testing"},  # tools for people
    {"subject"},  # one Subject over them all
    {"returning", "subjectoptions"},  # the machine below it; what it is made with
    {"dialling"},  # one dial after the other
    {"server", "client", "redis"},  # the outside: aiohttp, redis
    {"acceptor", "httpclient"},  # one request becomes one connection; what sends requests
    {"adapter", "hub", "handling", "shutdown"},  # adapter: the only frame I/O, for both ends
    {"pulling", "pushing"},  # the two ways in
    {"reading", "writing"},  # what they have in common; the way out
    {"paths"},  # which of the two is taken
    {"internals", "wire"},  # what is below aiohttp's WebSockets
    {"faults"},  # of whichever connection a client has
    {"home"},  # where a client's things run
    {"iteration", "operators"},  # the bridge to `async for`; only what Rx lacks
    {"mapping"},  # the largest of the operators
    {"loop"},  # the event loop as a scheduler
    {"recording"},  # what a flow did, for tests, pictures and tools
    {"tapping"},  # noting what passes a place in a chain
    {"lanes"},  # the events of one stream
    {"picture"},  # marble diagrams
    {"recorded", "replaying"},  # the file format; events once more
    {"channels", "feeding"},  # many over one connection; a queue's way into it
    {"session", "reconnect"},  # one connection's life
    {"face"},  # the streams of a session that its user sees
    {"holding", "inbound", "outgoing"},  # holds on many connections; the ways in and out
    {"flow"},  # bounds and deadlines
    {"heartbeat"},  # signs of life
    {"dropping"},  # telling of what it drops
    {"unsent"},  # the queue of who has no connection
    {"gate", "outbox", "framing"},  # holds, the queue of what goes out, values and frames
    {"patience"},  # the deadline of what waits
    {"renewing"},  # streams that end and begin anew
    {"scheduling"},  # time
    {"streams"},  # light Observables for frames
    {"connection", "transport", "options"},  # the value users hold; the port to the wire
    {"closing", "overflow", "backoff", "codecs", "origins", "upgrades"},  # policies
    {
        "messages",
        "errors",
        "state",
        "status",
        "log",
        "cells",
    },  # vocabulary; the cell that runs
]

# Imports within one layer, each with its reason: (who imports, what).
SIDEWAYS: set[tuple[str, str]] = {
    ("replaying", "recorded"),  # the events
    ("errors", "messages"),  # ConnectionClosed carries a Close
    ("status", "messages"),  # Open carries a Handshake, Closed a Close
}

# From this layer down the very code runs on a fake transport in virtual time: time comes in through
# a scheduler, bytes and coroutines through the transport port.
PURE_FROM = "session"
IMPURE = ("asyncio", "aiohttp", "reactivex.scheduler.eventloop")

MAX_LINES = 320

DEPTH = {module: depth for depth, layer in enumerate(LAYERS) for module in layer}

# Files and their modules; the files of a package within rxws are one.
FILES = {
    path: path.relative_to(PACKAGE).with_suffix("").parts[0]
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(source: str, package: str = "rxws") -> list[tuple[str, int, bool]]:
    """What a module in a package imports: (dotted name, line, whether it runs)."""
    found: list[tuple[str, int, bool]] = []

    def visit(node: ast.AST, runs: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for statement in node.body:
                visit(statement, False)
            for statement in node.orelse:
                visit(statement, runs)
            return
        if isinstance(node, ast.Import):
            found.extend((alias.name, node.lineno, runs) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(filter(None, [package if node.level else "", node.module]))
            # `from . import x` may name a module: then that is what is imported.
            found.extend((f"{base}.{alias.name}", node.lineno, runs) for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child, runs)

    visit(ast.parse(source), True)
    return found


def complaints(module: str, source: str, modules: set[str], package: str = "rxws") -> list[str]:
    """What is wrong with a module's imports, and what to change."""
    if module not in DEPTH:
        return [f"rxws/{module}.py has no layer: add it to LAYERS in tests/test_layers.py"]
    said: list[str] = []
    for name, line, runs in imports(source, package):
        where = f"rxws/{module}.py:{line}"
        if name == "rxws" or name.startswith("rxws."):
            first = name.split(".")[1] if "." in name else ""
            target = first if first in modules else "__init__"
            if target not in DEPTH:
                said.append(
                    f"{where} imports rxws.{target}, which has no layer: add it to LAYERS in "
                    "tests/test_layers.py"
                )
            elif target != module and DEPTH[target] < DEPTH[module]:
                said.append(
                    f"{where} imports {name}, which is above it: move what it needs into a module "
                    f"of its own layer's or below, or have {target} pass it in"
                )
            elif (
                target != module
                and DEPTH[target] == DEPTH[module]
                and (module, target) not in SIDEWAYS
            ):
                said.append(
                    f"{where} imports {name}, of its own layer: move what both need further down, "
                    "or state the import and its reason in SIDEWAYS in tests/test_layers.py"
                )
        # What is there for annotations only does not run.
        elif runs and DEPTH[module] >= DEPTH[PURE_FROM]:
            said.extend(
                f"{where} imports {impure}: from {PURE_FROM} down take time from the scheduler, "
                "and bytes and coroutines through the transport port"
                for impure in IMPURE
                if name == impure or name.startswith(f"{impure}.")
            )
    return said


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path: Path) -> None:
    """A module imports lower layers only, and from the session down neither asyncio nor aiohttp."""
    package = ".".join(["rxws", *path.relative_to(PACKAGE).parts[:-1]])
    said = complaints(FILES[path], path.read_text(encoding="utf-8"), set(FILES.values()), package)
    assert not said, "\n".join(["", *said])


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: path.name)
def test_a_module_has_one_subject(path: Path) -> None:
    """No module is longer than what one subject takes."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MAX_LINES, f"rxws/{path.name} has {lines} lines: it has two subjects, split it"


@pytest.mark.parametrize(
    ("module", "source", "said"),
    [
        ("session", "from .adapter import Adapter", "which is above it"),
        ("session", "from rxws import adapter", "which is above it"),
        ("session", "import rxws._aiohttp.transport.adapter", "which is above it"),
        ("session", "from . import Connection", "which is above it"),
        ("session", "if TYPE_CHECKING:\n    from .adapter import Adapter", "which is above it"),
        ("server", "def late():\n    from .client import connect", "of its own layer"),
        ("streams", "import asyncio", "imports asyncio"),
        ("streams", "from aiohttp.web import Request", "imports aiohttp"),
        ("streams", "from reactivex.scheduler.eventloop import X", "reactivex.scheduler.eventloop"),
        ("novelty", "", "add it to LAYERS"),
        ("session", "from .novelty import x", "add it to LAYERS"),
    ],
)
def test_a_wrong_import_is_told_with_its_remedy(module: str, source: str, said: str) -> None:
    """Each kind of wrong import is found, however it is spelled."""
    [complaint] = complaints(module, source, {*DEPTH, "novelty"})
    assert said in complaint


@pytest.mark.parametrize(
    ("module", "source"),
    [
        (
            "session",
            "from .errors import RxwsError\nfrom . import closing\nimport rxws._core.streams",
        ),
        ("errors", "from .messages import Close"),
        ("messages", "if TYPE_CHECKING:\n    from aiohttp import web"),
        ("adapter", "import asyncio\nfrom aiohttp import web"),
        ("__init__", "from .client import connect"),
    ],
)
def test_a_right_import_passes(module: str, source: str) -> None:
    """Imports that point down pass, and aiohttp's types may be named in annotations."""
    assert complaints(module, source, set(DEPTH)) == []
