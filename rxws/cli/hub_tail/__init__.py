"""`rxws hub tail`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click

from rxws.cli._command import Command, Number
from rxws.cli._connection import Target, optional_connection
from rxws.cli._exit_codes import ExitCode
from rxws.cli._options import message_count
from rxws.cli._run import run
from rxws.hub import Position

from ._follow import Plan, tail

__all__ = ["command"]


@click.command(
    "tail",
    cls=Command,
    examples=[
        "rxws hub tail room:1 --url ws://localhost:8080/hub",
        "rxws hub tail room:1 room:2 --redis redis://localhost --last 10",
        "rxws hub tail news:42 --url :8080/hub --token secret-of-ann --since 9f2c:17",
        "rxws hub tail room:1 --redis redis://localhost --json | jq .value",
        "rxws hub tail room:1 --url :8080/hub --last 1 -n 1 --no-presence",
    ],
)
@click.argument("topics", metavar="TOPIC...", nargs=-1, required=True)
@click.option(
    "--token",
    metavar="TEXT",
    envvar="RXWS_TOKEN",
    show_envvar=True,
    help="Identifies you to the server.",
)
@click.option(
    "--redis",
    metavar="URL",
    envvar="RXWS_REDIS",
    show_envvar=True,
    help="Follow the topics of all hubs that use this Redis server.",
)
@click.option(
    "--prefix",
    metavar="TEXT",
    default="rxws",
    show_default=True,
    help="With --redis: what the hubs' keys begin with.",
)
@click.option(
    "since",
    "--since",
    metavar="[TOPIC=]POSITION",
    multiple=True,
    help="Begin after this position, which an earlier run has printed.",
)
@click.option(
    "--last",
    type=click.IntRange(1),
    metavar="N",
    help="Begin with the newest N messages.",
)
@message_count("End after N messages.")
@click.option(
    "-t",
    "--timeout",
    type=Number(0, min_open=True),
    metavar="SECONDS",
    help="Fail with code 3 if it takes longer.",
)
@click.option("--json", is_flag=True, help="Print messages, gaps and presence as lines of JSON.")
@click.option("--positions", is_flag=True, help="Print the position of each message.")
@click.option("--presence/--no-presence", default=True, help="Show who joins and leaves, or not.")
@optional_connection
def command(
    topics: tuple[str, ...],
    target: Target | None,
    redis: str | None,
    since: tuple[str, ...],
    last: int | None,
    **options: Any,
) -> ExitCode:
    """Follow a topic.

    Messages go to stdout. Who joins and leaves, and where messages may be missing, goes to stderr.
    Lost connections are opened again, and continue where they were.
    """
    if (target is None) == (redis is None):
        raise click.UsageError("say where the topic is: either --url or --redis.")
    if since and last:
        raise click.UsageError("--since and --last are two ways to begin: use one of them.")
    plan = Plan(
        topics=tuple(dict.fromkeys(topics)),
        target=target,
        redis=redis,
        since=_positions(since, topics),
        last=last or 0,
        **options,
    )
    return run(partial(tail, plan))


def _positions(since: tuple[str, ...], topics: tuple[str, ...]) -> dict[str, Position]:
    found: dict[str, Position] = {}
    for each in since:
        topic, equals, text = each.rpartition("=")
        if not equals and len(topics) == 1:
            topic = topics[0]
        if topic not in topics:
            wanted = f"{topic!r} is no topic of this command" if equals else "it names no topic"
            raise click.UsageError(f"--since {each}: {wanted}: use TOPIC=POSITION.")
        try:
            found[topic] = Position.parse(text)
        except ValueError as error:
            raise click.UsageError(
                f"--since {each}: {text!r} is no position: use one that rxws hub tail has printed, "
                "such as 9f2c:17."
            ) from error
    return found
