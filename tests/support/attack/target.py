"""The attacked process: rxws as server and client, and a report of what happened.

`/NAME?options=JSON` upgrades with a handler of `HANDLERS` and these options. `/fire` checks the
result of one stream of bytes. `/dial` connects to the attacker. `/report` returns what happened
since the last report. The process prints its port at the start, and a line of JSON at its end,
after SIGTERM.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import signal
import time
from asyncio import events
from collections import Counter
from collections.abc import Callable
from typing import Any

import reactivex as rx
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

import rxws
from support.attack.mutations import digest

CODECS: dict[str, Any] = {
    "raw": rxws.codecs.raw,
    "text": rxws.codecs.text,
    "json": rxws.codecs.json,
}
VERDICTS = {1002, 1007, 1009}  # ours, on what a peer sends


class Report:
    """What happened."""

    def __init__(self) -> None:
        self.faults: list[str] = []  # what no document says
        self.logged: Counter[str] = Counter()
        self.unheard: Counter[str] = Counter()  # calls of the loop's exception handler
        self.ends: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.decode_errors = 0
        self.messages = 0
        self.longest = 0.0  # seconds of this thread's CPU that one callback of the loop took
        self.callback = ""

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"faults": self.faults[:5]}


report = Report()


class LogCounter(logging.Handler):
    """Count log records of level WARNING and above."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if record.name == "aiohttp.server" and isinstance(error, HttpProcessingError):
            report.refused["bad request"] += 1  # aiohttp logs a request that is no HTTP
            return
        text = f"{record.name} {record.levelname} {record.msg}"
        if error:
            text += f" {error!r:.200}"
        report.logged[text] += 1


def time_callbacks() -> None:
    """Record the duration of the longest callback, in CPU time of the loop's thread.

    Wall time would include waits for a core.
    """
    run: Callable[[Any], Any] = events.Handle._run

    def timed(self: Any) -> None:
        began = time.thread_time()
        run(self)
        took = time.thread_time() - began
        if took > report.longest:
            report.longest, report.callback = took, repr(self)[:300]

    events.Handle._run = timed  # type: ignore[method-assign] # in this process only


# --- connections whose outcome is checked -----------------------------------------------------


class ConnectionCheck:
    """Check the notifications of one connection against the documentation.

    Args:
        conn: The connection.
        case: Its name in the report.
        due: How many messages must arrive first.
        crc: Their digest.
    """

    def __init__(self, conn: rxws.Connection[Any, Any], case: str, due: int, crc: int) -> None:
        self.case = case
        self.conn = conn
        self._due = due
        self._crc = crc
        self._first: list[Any] = []
        self._ends: list[Exception | None] = []
        self._closes: list[rxws.Close] = []
        conn.errors.subscribe(self._on_fault)
        conn.incoming.subscribe(
            self._on_message, self._ends.append, lambda: self._ends.append(None)
        )
        conn.closed.subscribe(self._closes.append, None, self._check)

    def _wrong(self, what: object) -> None:
        report.faults.append(f"{self.case}: {what}")

    def _on_message(self, value: Any) -> None:
        report.messages += 1
        if self._ends:
            self._wrong("a message after the end")
        if len(self._first) < self._due:
            self._first.append(value)

    def _on_fault(self, error: Exception) -> None:
        if type(error) is rxws.DecodeError:
            report.decode_errors += 1
        else:
            self._wrong(repr(error))

    def _check(self) -> None:
        asyncio.get_running_loop().call_soon(self._check_all)  # `incoming` may end after this

    def _check_all(self) -> None:
        if len(self._closes) != 1 or len(self._ends) != 1:
            self._wrong((self._closes, self._ends))
            return
        close, error = self._closes[0], self._ends[0]
        report.ends[f"{close.by} {close.code}"] += 1
        if len(self._first) != self._due or digest(self._first) != self._crc:
            self._wrong(f"{self._due} messages were due, told were {self._first!r:.300}; {close}")
        allowed = {
            "local": close.code in VERDICTS,
            "network": close.code == 1006,
            "peer": close.code == 1005 or rxws.closing.is_wire_code(close.code),
        }
        if not allowed[close.by]:
            self._wrong(close)
        if rxws.closing.is_clean(close):
            if error is not None:
                self._wrong((close, error))
        elif type(error) is not rxws.ConnectionClosed or error.close != close:
            self._wrong((close, error))


def checked(conn: rxws.Connection[Any, Any], case: dict[str, Any]) -> rx.Observable[Any] | None:
    """Check one connection; some echo."""
    ConnectionCheck(conn, case["case"], case["due"], case["crc"])
    return conn.incoming if case["echo"] else None


async def check_mutant(request: web.Request) -> web.StreamResponse:
    case = json.loads(request.query["case"])
    return await rxws.upgrade(
        request, lambda conn: checked(conn, case), codec=CODECS[case["codec"]], **case["options"]
    )


# --- connections that just live ---------------------------------------------------------------


def sink(conn: rxws.Connection[Any, Any]) -> None:
    """Count messages."""

    def count(_: Any) -> None:
        report.messages += 1

    conn.incoming.subscribe(count, lambda _: None)
    conn.closed.subscribe(lambda close: report.ends.update([f"{close.by} {close.code}"]))


def echo(conn: rxws.Connection[Any, Any]) -> rx.Observable[Any]:
    sink(conn)
    return conn.incoming


def leave(conn: rxws.Connection[Any, Any]) -> None:
    """Close at once."""
    sink(conn)
    conn.outgoing.on_completed()


HANDLERS: dict[str, Callable[[rxws.Connection[Any, Any]], Any]] = {
    "sink": sink,
    "echo": echo,
    "leave": leave,
}


async def connection(request: web.Request) -> web.StreamResponse:
    handler = HANDLERS.get(request.match_info["name"])
    if handler is None:
        raise web.HTTPNotFound
    options = json.loads(request.query.get("options", "{}"))
    return await rxws.upgrade(request, handler, **options)


# --- the client end ---------------------------------------------------------------------------

dialling: set[asyncio.Task[None]] = set()


async def dial(request: web.Request) -> web.Response:
    """Connect to `url` `count` times, `width` at once."""
    order = json.loads(request.query["order"])
    left = iter(range(order["count"]))
    for _ in range(order["width"]):
        task = asyncio.create_task(be_client(left, **order))
        dialling.add(task)
        task.add_done_callback(dialling.discard)
    return web.Response()


async def be_client(left: Any, url: str, handler: str, options: dict[str, Any], **_: Any) -> None:
    for _ in left:
        try:
            async with rxws.connect(url, **options) as conn:
                if handler == "fire":
                    case = json.loads(conn.handshake.headers.get("X-Case", "null"))
                    feeds = checked(conn, case) if case else HANDLERS["sink"](conn)
                else:
                    feeds = HANDLERS[handler](conn)
                if feeds is not None:
                    feeds.subscribe(conn.outgoing, scheduler=conn.scheduler)
                await conn.closed
        except rxws.HandshakeError as exc:
            report.refused[f"HandshakeError {exc.status}"] += 1
        except rxws.ConnectError:
            report.refused["ConnectError"] += 1
        except Exception as exc:
            report.faults.append(f"connect raised {exc!r}")


# --- telling ----------------------------------------------------------------------------------


async def send_report(_: web.Request) -> web.Response:
    """Return the report."""
    said = report.as_json() | {"tasks": len(asyncio.all_tasks()), "dialling": len(dialling)}
    return web.json_response(said)


async def reset_report(_: web.Request) -> web.Response:
    """Start a new report."""

    def begin() -> None:
        global report
        report = Report()

    gc.collect()  # unclosed objects report themselves now, not during the next input
    asyncio.get_running_loop().call_soon(begin)  # not within a callback that took so long
    return web.Response()


async def main() -> None:
    time_callbacks()
    logging.getLogger().addHandler(LogCounter(logging.WARNING))
    logging.captureWarnings(True)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(
        lambda _, context: report.unheard.update(
            [f"{context.get('message')} {context.get('exception')!r:.200}"]
        )
    )
    app = web.Application()
    app.router.add_get("/report", send_report)
    app.router.add_get("/forget", reset_report)
    app.router.add_get("/dial", dial)
    app.router.add_get("/fire", check_mutant)
    app.router.add_get("/{name}", connection)
    rxws.setup(app, drain=1.0)
    asked_to_end = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, asked_to_end.set)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asked_to_end.wait()
    for task in list(dialling):
        task.cancel()
    await runner.cleanup()
    print(json.dumps({"faults": report.faults}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
