"""Finding what to serve: the errors say what was looked for, and where."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli.serve._load import load

CHAT = """
import rxws
from aiohttp import web

@rxws.websocket
def room(conn): ...

def lobby(conn): ...

class routes:
    chat = staticmethod(lobby)

app = web.Application()
_private = lobby
Path = web.Application
"""

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write files in the current directory; their modules are forgotten after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def message_of(target: str) -> str:
    """Return the message of the usage error that a target causes."""
    with pytest.raises(click.UsageError) as caught:
        load(target)
    return caught.value.message


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("chat_module:room", "room"),
        ("chat_module:routes.chat", "lobby"),
        ("chat_module.py:lobby", "lobby"),
        ("./chat_module.py:lobby", "lobby"),
    ],
)
def test_a_target_names_a_module_or_a_file(write: Write, target: str, name: str) -> None:
    """Modules are looked for in the current directory, too; a name may have dots."""
    write("chat_module.py", CHAT)
    assert load(target).__name__ == name


@pytest.mark.parametrize(
    "target", ["shop/sockets/feed.py:feed", "shop.sockets.feed:feed", "shop/__init__.py:feed"]
)
def test_a_file_of_a_package_is_imported_as_its_module(write: Write, target: str) -> None:
    """Relative imports work, as the directory of the outermost package is on `sys.path`."""
    write("shop/__init__.py", "from .sockets.feed import feed")
    write("shop/sockets/__init__.py", "")
    write("shop/sockets/feed.py", "from . import names\ndef feed(conn): ...")
    write("shop/sockets/names.py", "")
    assert load(target).__module__ == "shop.sockets.feed"


def test_a_missing_module_is_named_with_the_directories(write: Write, tmp_path: Path) -> None:
    """The message has the nearest name, and `sys.path`, which begins with this directory."""
    write("chat_module.py", CHAT)
    first, *places = message_of("chat_modul:room").splitlines()
    assert first == "there is no module 'chat_modul'. Did you mean chat_module? Looked in:"
    assert places[0] == f"  {tmp_path}"
    assert len(places) == len(set(sys.path))  # each once


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            "shop.socket_s:feed",
            "there is no module 'shop.socket_s'. Did you mean shop.sockets? Looked in:",
        ),
        (
            "chat_module.room:x",
            "'chat_module' is no package. Did you mean chat_module:room?",
        ),
        (
            "chat_module.nothing:x",
            "there is no module 'chat_module.nothing': 'chat_module' is no package.",
        ),
        (
            "chat_modle.py:room",
            "no file chat_modle.py; looked in {}. Did you mean chat_module.py?",
        ),
        ("chat_module:rooom", "chat_module ({}/chat_module.py) has no 'rooom'"),
        ("chat_module:rooom", "; it has room, lobby, app. Did you mean room?"),
        ("chat_module:routes.chta", "has no 'chta'. Did you mean chat?"),
        (
            "chat_module",
            "'chat_module' has no name: use chat_module:NAME. chat_module has room, lobby, app.",
        ),
        ("chat_module.py", "'chat_module.py' has no name: use chat_module.py:NAME."),
        ("empty:", "'empty:' has no name: use empty:NAME. empty has nothing to serve."),
        (":room", "':room' has no module: use MODULE:room."),
        (".chat_module:room", "'.chat_module' is no module: use module:name."),
    ],
)
def test_a_wrong_target_is_explained(
    write: Write, tmp_path: Path, target: str, message: str
) -> None:
    """The message says what was looked for, where, and what is there."""
    write("chat_module.py", CHAT)
    write("empty.py", "")
    write("shop/__init__.py", "")
    write("shop/sockets.py", "")
    assert message.format(tmp_path, tmp_path) in message_of(target)


def test_many_names_are_shortened(write: Write) -> None:
    """The message lists 20 names."""
    write("many.py", "".join(f"def f{number}(conn): ...\n" for number in range(30)))
    assert "f19, …." in message_of("many:g")
    assert "f20" not in message_of("many:g")


def test_a_file_whose_name_is_taken(write: Write) -> None:
    """A file that another module hides is not mistaken for that module."""
    path = write("json.py", "def feed(conn): ...")
    message = message_of("json.py:feed")
    assert message.startswith(f"{path} cannot be imported: another module has its name, 'json' (")
    assert message.endswith("Rename the file.")


@pytest.mark.parametrize(
    ("source", "trace"),
    [
        (
            "import json\n\ndef fail():\n    1 / 0\n\nfail()\n",
            'File "{path}", line 6, in <module>',
        ),
        ("def f(:\n", 'File "{path}", line 1\n'),
        ("import missing_module\n", "ModuleNotFoundError: No module named 'missing_module'"),
        ("raise ValueError('x')\n", 'File "{path}", line 1, in <module>'),
    ],
)
def test_an_exception_of_the_module_has_its_traceback(
    write: Write, source: str, trace: str
) -> None:
    """The traceback has the frames of the module, and none of rxws or importlib."""
    path = write("broken.py", source)
    with pytest.raises(Failure) as caught:
        load("broken:room")
    text = caught.value.message
    assert caught.value.code is ExitCode.USAGE
    assert text.startswith("broken cannot be imported:\n")
    assert trace.format(path=path) in text
    assert "importlib" not in text
    assert "rxws" not in text.replace(str(path.parent), "")
