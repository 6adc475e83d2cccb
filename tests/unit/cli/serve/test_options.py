"""The options of `rxws serve` that contradict each other or cannot work."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from rxws.cli._main import root


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["chat:room", "--echo"], "--echo serves no chat:room: use one of them"),
        (["--echo", "-n", "1"], "-n is for a server at which you type"),
        (["--codec", "json"], "--codec is for a handler"),
        (["--echo", "--tls-key", __file__], "needs --tls"),
        (["--echo", "--tls", __file__], "no PEM file with a certificate and its key"),
        (["--echo", "--reload"], "--reload needs a MODULE:NAME to watch"),
        (["chat:room", "--watch", "."], "--watch needs --reload"),
        (["--echo", "--port", "70000"], "70000 is not in the range"),
        (["--echo", "--path", "x", "--port", "0"], "'x' does not start with a slash: use '/x'"),
        (["--echo", "--origin", "x", "--port", "0"], "--echo cannot be served: "),
    ],
)
def test_a_wrong_option_is_explained(args: list[str], message: str) -> None:
    """The exit code is that of wrong usage."""
    result = CliRunner().invoke(root, ["serve", *args], prog_name="rxws")
    assert message in result.stderr
    assert (result.exit_code, result.stdout) == (64, "")


def test_an_address_of_another_machine_cannot_be_listened_on() -> None:
    """The message names the address."""
    args = ["serve", "--echo", "--host", "192.0.2.1", "--port", "0"]
    result = CliRunner().invoke(root, args, prog_name="rxws")
    assert result.stderr.startswith("Error: cannot listen on 192.0.2.1 port 0: ")
    assert result.exit_code == 2
