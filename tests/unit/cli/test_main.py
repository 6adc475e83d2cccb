"""The command `rxws`: its help, its exit codes, and what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

import rxws
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._hub import command as hub_group
from rxws.cli._main import EXAMPLES, LazyGroup, root
from support import ROOT

GROUPS = [root, hub_group]


def invoke(*args: str) -> Any:
    return CliRunner().invoke(root, args, prog_name="rxws")


def run_python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


def with_command(monkeypatch: pytest.MonkeyPatch, error: BaseException | None) -> None:
    """Add the command `rxws broken`, which raises an error."""

    @click.command()
    def command() -> None:
        if error is not None:
            raise error

    monkeypatch.setattr(import_module("rxws.cli.demo"), "command", command)


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group.name)
def test_the_help_of_a_group_shows_the_first_line_of_each_command(group: LazyGroup) -> None:
    """The summaries, which are known without importing a command, are those of the commands."""
    for name, (module, summary) in group.commands_in.items():
        command = import_module(f"rxws.cli.{module}").command
        assert command.name == name
        assert (command.help or "").partition("\n")[0] == summary


def test_the_help_shows_examples_of_the_commands() -> None:
    """The examples of `rxws --help` are in the help of their commands, so they are tested."""
    shown = invoke("--help").output
    for example in EXAMPLES:
        name = example.partition("rxws ")[2].split()[0]
        assert f"  {example}\n" in shown
        assert example in import_module(f"rxws.cli.{name}").command.examples


def test_the_help_imports_no_command_and_no_viz() -> None:
    """`rxws --help` imports click, and otherwise nothing that `import rxws` does not."""
    done = run_python(
        "import sys, rxws\n"
        "before = set(sys.modules)\n"
        "sys.argv = ['rxws', '--help']\n"
        "from rxws.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*(set(sys.modules) - before), sep='\\n', file=sys.stderr)\n"
    )
    assert "Commands:" in done.stdout
    imported = set(done.stderr.split())
    assert {name for name in imported if name.startswith("rxws")} == {
        "rxws.cli",
        "rxws.cli._command",
        *(f"rxws.cli.{name}" for name in ("_exit_codes", "_failures", "_main", "_output")),
    }
    assert not {"prompt_toolkit", "rich", "watchfiles", "IPython"} & imported


def test_the_version_is_that_of_the_package() -> None:
    """`rxws --version` prints the version of rxws."""
    assert invoke("--version").stdout == f"rxws {rxws.__version__}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["chat"], "No such command 'chat'. Commands: connect,"),
        (["hub", "tale"], "No such command 'tale'. Commands: tail."),
        (["--nothing"], "No such option"),
        (["connect"], "Missing argument 'URL'"),
    ],
)
def test_wrong_usage_exits_with_64(args: list[str], message: str) -> None:
    """The code of wrong usage is not 2, which means that the connection failed."""
    result = invoke(*args)
    assert message in result.stderr
    assert result.stdout == ""
    assert result.exit_code == 64


@pytest.mark.parametrize(
    "args",
    [
        ["connect", ":1", "-m", "a", "-m", "\udcff"],
        ["record", ":1", "-o", "-", "-H", "X: \udcff"],
        ["bench", ":1", "--auth", "\udcff:secret"],
    ],
)
def test_an_argument_that_is_not_utf_8_is_refused(args: list[str]) -> None:
    """Python has a lone surrogate for each such byte, which could not be sent."""
    result = invoke(*args)
    assert result.exit_code == 64
    assert "udcff' is not UTF-8" in result.stderr.replace("udcff:secret", "udcff")


CLOSED = rxws.ConnectionClosed(rxws.Close(4001, "why", "peer"))


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (None, 0, ""),
        (Failure("too late", ExitCode.TIMED_OUT), 3, "Error: too late\n"),
        (CLOSED, 1, "Error: closed with 4001 'why' by peer\n"),
        (rxws.ConnectError("no \x1b[2J way"), 2, "Error: no \\x1b[2J way\n"),
        (rxws.HandshakeError("refused", 403, {}, b"log in\n"), 2, "Error: refused\nlog in\n"),
        (TimeoutError(), 3, "Error: timed out\n"),
        (OSError(28, "No space left"), 1, "Error: cannot write the output: No space left\n"),
        (OSError(13, "Denied", "a"), 1, "Error: [Errno 13] Denied: 'a'\n"),
        (click.Abort(), 130, ""),
        (KeyboardInterrupt(), 130, "\n"),
    ],
    ids=repr,
)
def test_an_error_ends_a_command_with_its_code(
    monkeypatch: pytest.MonkeyPatch, error: BaseException | None, code: int, message: str
) -> None:
    """The errors of rxws become a message on stderr, without a traceback, and an exit code."""
    with_command(monkeypatch, error)
    result = invoke("demo")
    assert (result.exit_code, result.stderr) == (code, message)


def test_an_unexpected_error_has_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A defect is not hidden by a short message."""
    with_command(monkeypatch, ZeroDivisionError("oops"))
    assert isinstance(invoke("demo").exception, ZeroDivisionError)


def test_the_result_of_a_command_is_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command may return an `ExitCode`."""
    command = click.Command("demo", callback=lambda: ExitCode.ABNORMAL_CLOSE)
    monkeypatch.setattr(import_module("rxws.cli.demo"), "command", command)
    assert invoke("demo").exit_code == 1


@pytest.mark.parametrize(
    ("missing", "importer"),
    [("click", "rxws.cli._main"), ("watchfiles", "rxws.cli.serve._reload")],
)
def test_a_missing_extra_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
    importer: str,
) -> None:
    """Without click, or a package of one command only, a line on stderr says what to install."""
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, importer, raising=False)
    monkeypatch.setattr(sys, "argv", ["rxws", "serve", "chat:room", "--port", "0", "--reload"])
    with pytest.raises(SystemExit) as exit_:
        import_module("rxws.cli").main()
    assert exit_.value.code == 64
    assert capsys.readouterr().err == (
        f"rxws: the command line needs {missing}, which is not installed. "
        "To install it, run: pip install 'rxws[cli]'\n"
    )


def test_standard_streams_that_are_closed_are_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a socket would get the file descriptor of stdout, and its peer the output."""
    with_command(monkeypatch, None)
    monkeypatch.setattr(sys, "argv", ["rxws", "demo"])
    for name in ("stdin", "stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    with pytest.raises(SystemExit) as exit_:
        import_module("rxws.cli").main()
    with sys.stdin, sys.stdout, sys.stderr:
        assert not exit_.value.code
        assert sys.stdin.read() == ""
        assert sys.stdout.name == sys.stderr.name == os.devnull


def test_ctrl_c_during_an_import_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code is 130, without a traceback, also before click handles it."""

    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("rxws.cli._main.root.main", interrupt)
    with pytest.raises(SystemExit) as exit_:
        import_module("rxws.cli").main()
    assert exit_.value.code == 130
    assert capsys.readouterr() == ("", "")


def test_ctrl_c_while_a_module_is_imported_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A module that takes long, as it loads a model, is interrupted without a traceback."""
    (tmp_path / "slow_chat.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    monkeypatch.syspath_prepend(tmp_path)
    result = invoke("serve", "slow_chat:room", "--port", "0")
    assert (result.exit_code, result.output.strip()) == (130, "")


def test_a_missing_module_of_another_name_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the packages of the extra get that message."""
    with_command(monkeypatch, ModuleNotFoundError("No module named 'x'", name="x"))
    monkeypatch.setattr(sys, "argv", ["rxws", "demo"])
    with pytest.raises(ModuleNotFoundError, match="'x'"):
        import_module("rxws.cli").main()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_the_shell(shell: str) -> None:
    """The script asks `rxws` for the completions."""
    assert "_RXWS_COMPLETE" in invoke("completion", shell).stdout


def test_completion_knows_commands_and_options() -> None:
    """The shell's request lists what may follow."""
    words = {"_RXWS_COMPLETE": "bash_complete", "COMP_WORDS": "rxws con", "COMP_CWORD": "1"}
    result = CliRunner().invoke(root, env=words, prog_name="rxws")
    assert result.stdout.split() == ["plain,connect"]


def test_colours_are_off_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR is honoured, as https://no-color.org asks."""
    seen: list[bool | None] = []
    command = click.Command("demo", callback=lambda: seen.append(click.get_current_context().color))
    monkeypatch.setattr(import_module("rxws.cli.demo"), "command", command)
    CliRunner().invoke(root, ["demo"], env={"NO_COLOR": "1"})
    CliRunner().invoke(root, ["demo"], env={"NO_COLOR": ""})
    assert seen == [False, None]


COMMANDS = ("bench", "connect", "demo", "draw", "hub tail", "record", "replay", "serve")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_shows_the_examples_and_the_options(name: str) -> None:
    """The help of a command has at least 3 examples, and a section for the connection's options."""
    result = invoke(*name.split(), "--help")
    assert result.exit_code == ExitCode.DONE
    _, _, rest = result.stdout.partition("\nExamples:\n")
    shown, _, options = rest.partition("\n\nOptions:\n")
    lines = [line.strip() for line in shown.splitlines()]
    assert len(lines) >= 3
    assert all(f"rxws {name}" in line for line in lines)
    own, heading, connection = options.partition("\nConnection:\n")
    assert "-h, --help" in own
    assert "--open-timeout" not in own
    assert bool(heading) == (name not in ("demo", "serve"))
    assert ("--open-timeout" in connection) == bool(heading)
