"""The options of `rxws hub tail` that contradict each other or are wrong."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from rxws.cli._main import root

URL = ["--url", "ws://127.0.0.1:1"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Missing argument 'TOPIC...'"),
        (["a"], "say where the topic is: either --url or --redis"),
        (["a", *URL, "--redis", "redis://x"], "say where the topic is: either --url or --redis"),
        (["a", "--redis", "redis://x", "-H", "a: b"], "--header needs --url"),
        (["a", "--redis", "http://x"], "http://x"),
        (["a", *URL, "--since", "e:1", "--last", "2"], "--since and --last are two ways to begin"),
        (["a", *URL, "--since", "1"], "--since 1: '1' is no position: use one that rxws hub tail"),
        (["a", *URL, "--since", "b=e:1"], "--since b=e:1: 'b' is no topic of this command"),
        (["a", "b", *URL, "--since", "e:1"], "--since e:1: it names no topic: use TOPIC=POSITION"),
        (["a", *URL, "--last", "0"], "0 is not in the range"),
        (["", *URL], "the name of a topic is empty"),
        (["$rxws:a", "--redis", "redis://x"], "$rxws:"),
    ],
)
def test_a_wrong_option_is_explained(args: list[str], message: str) -> None:
    """The exit code is that of wrong usage."""
    result = CliRunner().invoke(root, ["hub", "tail", *args], prog_name="rxws")
    assert message in " ".join(result.stderr.split())
    assert (result.exit_code, result.stdout) == (64, "")
