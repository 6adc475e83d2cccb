"""`rxws bench`."""

from __future__ import annotations

import json as jsons

import click

from rxws import closing
from rxws._core.connection import Close
from rxws.cli._command import Command, Number
from rxws.cli._connection import Target, connection_options
from rxws.cli._exit_codes import ExitCode
from rxws.cli._output import note, printable, write
from rxws.cli._progress import progress
from rxws.cli._run import run

from ._load import Load, Plan, Remote, is_loopback
from ._results import Results, as_json, as_text

__all__ = ["command"]

_BUSY = 0.9  # of a core
_REMEDY = "If you are allowed to put load on it, add --i-am-allowed."


@click.command(
    "bench",
    cls=Command,
    examples=[
        "rxws bench :8080/echo",
        "rxws bench :8080/echo -c 100 --rate 1000 -d 30",
        'rxws bench :8080/rpc -m \'{"jsonrpc": "2.0", "id": 1, "method": "now"}\'',
        "rxws bench :8080/in --one-way --size 10000 -n 5000",
        "rxws bench wss://staging.example.com/echo --i-am-allowed --json",
    ],
)
@connection_options
@click.option(
    "connections",
    "-c",
    "--connections",
    type=click.IntRange(1, 10_000),
    metavar="NUMBER",
    default=10,
    show_default=True,
    help="How many connections to keep open.",
)
@click.option(
    "seconds",
    "-d",
    "--duration",
    type=Number(0, min_open=True),
    metavar="SECONDS",
    default=5.0,
    show_default=True,
    help="Stop sending after this time.",
)
@click.option(
    "messages",
    "-n",
    "--messages",
    type=click.IntRange(1),
    metavar="NUMBER",
    help="Stop after so many messages, over all connections.",
)
@click.option(
    "rate",
    "-r",
    "--rate",
    type=Number(0, min_open=True),
    metavar="NUMBER",
    help="Send so many messages per second, over all connections.  [default: as many as possible]",
)
@click.option(
    "size",
    "--size",
    type=click.IntRange(16),
    metavar="BYTES",
    default=64,
    show_default=True,
    help="The size of a message.",
)
@click.option(
    "text",
    "-m",
    "--message",
    metavar="TEXT",
    help="Send this message; whatever comes back next is its answer.",
)
@click.option("--binary", is_flag=True, help="Send binary messages.")
@click.option(
    "in_flight",
    "--in-flight",
    type=click.IntRange(1),
    metavar="NUMBER",
    default=1,
    show_default=True,
    help="Without --rate: how many messages a connection sends before it waits for an answer.",
)
@click.option("--one-way", is_flag=True, help="Expect no answers, and send without waiting.")
@click.option("anywhere", "--i-am-allowed", is_flag=True, help="Allow a server on another machine.")
@click.option("--json", "as_object", is_flag=True, help="Print the results as a JSON object.")
def command(target: Target, *, as_object: bool, **options: object) -> ExitCode:
    """Measure the latency and the throughput of a server.

    The server should return each message; otherwise use --message or --one-way. It ends by itself;
    Ctrl-C ends it earlier, and prints what was measured so far.
    """
    plan = Plan(**options)  # type: ignore[arg-type] # the options of the command are its fields
    if not plan.anywhere and not is_loopback(target.url.host):
        host = target.url.host
        raise click.UsageError(f"{host} may be another machine, and this is load. {_REMEDY}")
    load = Load(target, plan)

    try:
        with progress(load.figures, transient=True):
            results = run(load.run)
    except Remote as error:
        raise click.UsageError(
            f"{target.url} leads to another machine, {error.args[0]!r}. {_REMEDY}"
        ) from error
    if as_object:
        write(f"{jsons.dumps(as_json(results, one_way=plan.one_way))}\n")
    else:
        write(printable(as_text(results, one_way=plan.one_way)))
    if results.cpu > _BUSY and results.seconds > 1:
        note(
            f"this client was busy for {results.cpu:.0%} of the time: it may be the limit, and "
            "not the server"
        )
    return _exit_code(results, plan)


def _exit_code(results: Results, plan: Plan) -> ExitCode:
    if any(not closing.is_clean(Close(code)) for code, _ in results.closes):
        return ExitCode.ABNORMAL_CLOSE
    if results.failures:
        return ExitCode.COULD_NOT_CONNECT
    is_answered = plan.one_way or results.interrupted or results.answered == results.sent
    return ExitCode.DONE if is_answered else ExitCode.TIMED_OUT
