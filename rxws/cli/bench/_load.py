"""Put load on a server: connections that send messages, and measure the answers."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

import rxws
from rxws._core.connection import Address, Connection
from rxws._core.errors import ConnectError, ConnectionClosed
from rxws.cli._connection import Target
from rxws.cli._progress import Figures

from ._results import Results

__all__ = ["Load", "Phase", "Plan", "Remote", "is_loopback"]

_OPENING = 50  # handshakes at the same time
_BURST = 64  # messages that are sent before others get their turn


class Remote(Exception):
    """The server is on another machine, and may not be put under load."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The load.

    Args:
        connections: How many are open at the same time.
        seconds: How long messages are sent.
        messages: How many are sent, at most; None for no limit but the time.
        size: The size of a message in bytes.
        text: The message; None for a different one each time, which an echo server returns.
        binary: Whether messages are binary.
        rate: How many messages all connections send per second; None for as many as possible.
        in_flight: How many messages a connection sends before it waits for an answer. If there is
            a rate, messages are sent when they are due.
        one_way: Whether no answers are expected.
        patience: How many seconds the last answers are waited for.
        anywhere: Whether the server may be on another machine.
    """

    connections: int
    seconds: float
    messages: int | None = None
    size: int = 64
    text: str | None = None
    binary: bool = False
    rate: float | None = None
    in_flight: int = 1
    one_way: bool = False
    patience: float = 5.0
    anywhere: bool = False


@dataclass(slots=True)
class Phase:
    """How far the load has come, for the progress.

    Args:
        name: The name of this phase.
        began: When the sending began, by `time.perf_counter`; None if it has not.
    """

    name: str = "opening"
    began: float | None = None


class Load:
    """Runs a plan.

    Attributes:
        results: The results so far.
        phase: The name of this phase.
    """

    def __init__(self, target: Target, plan: Plan) -> None:
        self._target = target
        self._plan = plan
        self._clients: list[_Client] = []
        self._left = plan.messages
        self.results = Results()
        self.phase = Phase()

    async def run(self, stop: asyncio.Event) -> Results:
        """Open all connections, send until the time is over or an event is set, and close.

        Raises:
            ConnectError: No connection could be opened.
            Remote: A connection leads to another machine, which the plan does not allow.
        """
        ended = asyncio.ensure_future(stop.wait())
        try:
            await self._open(ended)
            if self._clients and not ended.done():
                await self._send(ended)
        finally:
            self.results.interrupted = stop.is_set()
            self.phase.name = "closing"
            ended.cancel()
            await asyncio.gather(*(client.close() for client in self._clients))
        return self.results

    def figures(self) -> Figures:
        """Return how far the load has come."""
        results, plan, phase = self.results, self._plan, self.phase
        if phase.began is None:
            opened = results.opening.count + results.failures.total()
            return Figures(opened, total=plan.connections, phase=phase.name, things="connections")
        seconds = time.perf_counter() - phase.began
        share = max(seconds / plan.seconds, results.sent / (plan.messages or math.inf))
        return Figures(
            results.sent if plan.one_way else results.answered,
            results.sent_bytes + results.received_bytes,
            share=min(share, 1.0),
            phase=phase.name,
        )

    def take(self) -> bool:
        """Return whether another message may be sent."""
        if self._left is None:
            return True
        if not self._left:
            return False
        self._left -= 1
        return True

    async def _open(self, ended: asyncio.Future[Any]) -> None:
        room = asyncio.Semaphore(_OPENING)
        errors: list[ConnectError] = []
        elsewhere: list[Address] = []

        async def open_one(number: int) -> None:
            async with room:
                began = time.perf_counter()
                try:
                    conn = await rxws.connect(str(self._target.url), **self._target.options)
                except ConnectError as error:
                    errors.append(error)
                    self.results.failures[str(error)] += 1
                    return
            self.results.opening.add(time.perf_counter() - began)
            self._clients.append(_Client(number, conn, self._plan, self))
            if not self._plan.anywhere and not is_loopback(conn.handshake.remote):
                elsewhere.append(conn.handshake.remote)

        await _together(map(open_one, range(self._plan.connections)), ended)
        if elsewhere:
            raise Remote(elsewhere[0])
        if errors and not self._clients:
            raise errors[-1]

    async def _send(self, ended: asyncio.Future[Any]) -> None:
        plan, results, clients = self._plan, self.results, self._clients
        self.phase.name, began, cpu = "sending", time.perf_counter(), time.process_time()
        self.phase.began = began
        until = began + plan.seconds
        share = plan.rate / len(clients) if plan.rate is not None else None
        await _together(
            (
                client.send(until, share, began + number / plan.rate if plan.rate else began)
                for number, client in enumerate(clients)
            ),
            ended,
        )
        for client in clients:
            client.stop()
        if not plan.one_way:
            self.phase.name = "waiting for answers"
            await _together((client.answered() for client in clients), ended, plan.patience)
        results.seconds = time.perf_counter() - began
        results.cpu = (time.process_time() - cpu) / results.seconds


async def _together(
    coroutines: Iterable[Coroutine[Any, Any, None]],
    ended: asyncio.Future[Any],
    seconds: float | None = None,
) -> None:
    """Run coroutines until all are done, the time is over, or a future is done."""

    async def everything() -> None:
        async with asyncio.TaskGroup() as group:
            for each in coroutines:
                group.create_task(each)

    task = asyncio.create_task(everything())
    try:
        await asyncio.wait([task, ended], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


class _Client:
    """One connection."""

    def __init__(self, number: int, conn: Connection[Any, Any], plan: Plan, load: Load) -> None:
        self._conn = conn
        self._plan = plan
        self._load = load
        self._results = load.results
        self._make = _maker(plan, number)
        self._due: _Due = _Due(ordered=plan.text is not None)
        self._answer = asyncio.Event()  # one has arrived, or the connection has ended
        self._stopped = False
        self._has_ended = False
        conn.incoming.subscribe(self._on_message, self._on_end, self._on_end)

    def stop(self) -> None:
        self._stopped = True
        self._answer.set()

    async def send(self, until: float, rate: float | None, first: float) -> None:
        """Send messages until a time, by `time.perf_counter`."""
        due, step = first, 0.0 if rate is None else 1 / rate
        pending, limit = self._due, self._plan.in_flight
        count = 0
        while not self._stopped and (now := time.perf_counter()) < until:
            if rate is not None and due > now:
                await asyncio.sleep(min(due, until) - now)
                continue
            if rate is None and not self._plan.one_way and len(pending) >= limit:
                self._answer.clear()
                await self._wait(until - now)
                continue
            if not self._load.take():
                return
            message = self._make(count)
            if not self._plan.one_way:
                pending.add(message, now if rate is None else due)
            self._conn.outgoing.on_next(message)
            self._results.sent += 1
            self._results.sent_bytes += len(message)
            due += step
            count += 1
            try:
                await self._conn.flow.drained()
            except ConnectionClosed:
                return
            if count % _BURST == 0:
                await asyncio.sleep(0)

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._answer.wait()
        except TimeoutError:
            pass

    async def answered(self) -> None:
        """Wait until all messages are answered, or the connection has ended."""
        while self._due and not self._has_ended:
            self._answer.clear()
            await self._answer.wait()

    async def close(self) -> None:
        self._conn.outgoing.on_completed()
        self._results.on_closed(await self._conn.closed)

    def _on_message(self, message: str | bytes) -> None:
        results = self._results
        results.received += 1
        results.received_bytes += len(message)
        if self._plan.one_way:
            return
        due = self._due.pop(message)
        if due is None:
            results.unexpected += 1
            return
        results.answered += 1
        results.latency.add(time.perf_counter() - due)
        self._answer.set()

    def _on_end(self, _: object = None) -> None:
        self._has_ended = True
        self.stop()


class _Due:
    """The messages without an answer, and when each was due."""

    def __init__(self, *, ordered: bool) -> None:
        self._ordered = ordered  # the first answer is that to the first message
        self._first: deque[float] = deque()
        self._by_message: dict[str | bytes, float] = {}

    def __len__(self) -> int:
        return len(self._first) + len(self._by_message)

    def add(self, message: str | bytes, due: float) -> None:
        if self._ordered:
            self._first.append(due)
        else:
            self._by_message[message] = due

    def pop(self, answer: str | bytes) -> float | None:
        if self._ordered:
            return self._first.popleft() if self._first else None
        return self._by_message.pop(answer, None)


def _maker(plan: Plan, client: int) -> Callable[[int], str | bytes]:
    if plan.text is not None:
        constant = plan.text.encode() if plan.binary else plan.text
        return lambda _: constant
    rest = "." * plan.size

    def make(number: int) -> str:
        return f"{client:x} {number:x} {rest}"[: plan.size]

    return (lambda number: make(number).encode()) if plan.binary else make


def is_loopback(remote: Address) -> bool:
    """Return whether a name or a socket's address is this machine."""
    host = remote[0] if isinstance(remote, tuple) else remote or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback
