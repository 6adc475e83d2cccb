"""Follow topics, of a server or of the hubs on a Redis server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol, TypeVar

from reactivex import Observable

import rxws
from rxws.cli._connection import Target
from rxws.cli._exit_codes import ExitCode
from rxws.cli._failures import Failure
from rxws.cli._format import as_json, as_text, parsed
from rxws.cli._output import note, printable, to_terminal, write_soon
from rxws.hub import Away, BackplaneError, Gap, GapReason, HubStatus, Message, Position, Refused
from rxws.status import Open, Status, Waiting

__all__ = ["Plan", "tail"]

T = TypeVar("T")

_MAX_NAMES = 20

_REASONS: dict[GapReason, str] = {
    "restarted": "the engine has lost its state, or was replaced",
    "trimmed": "the topic keeps them no more",
    "overflow": "too many came at once",
    "unavailable": "they could not be read",
    "undecodable": "the codec has refused one",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to follow, and how to show it.

    Args:
        topics: The names of the topics.
        target: The server; None for Redis.
        token: Identifies the user to the server.
        redis: The URL of the Redis server.
        prefix: What the keys of the hubs in Redis begin with.
        since: After which position to begin, by topic.
        last: How many of the newest messages to show first.
        count: After how many messages to end.
        timeout: After how many seconds to fail.
        json: Whether to print everything as lines of JSON.
        positions: Whether to print the position of each message.
        presence: Whether to show who joins and leaves.
    """

    topics: tuple[str, ...]
    target: Target | None = None
    token: str | None = None
    redis: str | None = None
    prefix: str = "rxws"
    since: Mapping[str, Position] = field(default_factory=dict[str, Position])
    last: int = 0
    count: int | None = None
    timeout: float | None = None
    json: bool = False
    positions: bool = False
    presence: bool = True


class _Topic(Protocol):
    @property
    def presence(self) -> Observable[frozenset[str]]: ...
    def messages(self, last: int = 0) -> Observable[Message[Any] | Gap]: ...
    def since(self, position: Position) -> Observable[Message[Any] | Gap]: ...


_OpenTopic = Callable[[str], _Topic]


async def tail(plan: Plan, stop: asyncio.Event) -> ExitCode:
    """Show messages until as many as wanted have come, or an event is set.

    Raises:
        Failure: The server or Redis could not be reached, or the time is over.
        RxwsError: A topic may not be subscribed, or the connection has ended for good.
        BrokenPipeError: Nobody reads stdout any more.
    """
    loop = asyncio.get_running_loop()
    printer = _Printer(plan)
    failure: Exception | None = None
    async with AsyncExitStack() as stack:
        lost: asyncio.Future[None] = loop.create_future()
        topic: _OpenTopic = await stack.enter_async_context(_open(plan, lost))
        topics = {name: _checked(topic, name) for name in plan.topics}
        following = [loop.create_task(printer.follow(*each)) for each in topics.items()]
        watching = [
            loop.create_task(printer.watch(*each)) for each in topics.items() if plan.presence
        ]
        stopping = loop.create_task(stop.wait())
        complete = loop.create_task(printer.complete.wait())
        ends: list[asyncio.Future[Any]] = [*following, stopping, complete, lost]
        try:
            done, _ = await asyncio.wait(
                ends, timeout=plan.timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for each in done:
                each.result()
            if not done:
                wanted = "" if plan.count is None else f" of {plan.count}"
                text = f"timed out, after {printer.count}{wanted} messages"
                failure = Failure(text, ExitCode.TIMED_OUT)
        except Exception as error:  # out here it would close with 1011
            failure = error
        finally:
            for task in (tasks := [*ends, *watching]):
                task.cancel()
            await asyncio.wait(tasks)
    printer.finish()
    if failure is not None:
        raise failure
    return ExitCode.DONE


class _Printer:
    """Prints messages on stdout, and all else on stderr, unless everything is JSON."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._several = len(plan.topics) > 1
        self._positions = dict(plan.since)
        self.count = 0
        self.complete = asyncio.Event()

    async def follow(self, name: str, topic: _Topic) -> None:
        """Print the messages and gaps of a topic."""
        since = self._plan.since.get(name)
        events = topic.messages(self._plan.last) if since is None else topic.since(since)
        async for event in _iterate(events):
            if self.complete.is_set():
                return
            if isinstance(event, Gap):
                await self._show_gap(name, event)
            else:
                await self._show_message(name, event)

    async def watch(self, name: str, topic: _Topic) -> None:
        """Print who is present, and who joins and leaves."""
        before: frozenset[str] | None = None
        try:
            async for names in _iterate(topic.presence):
                await self._show_presence(name, names, before)
                before = names
        except Refused as error:
            note(f"{name}: no presence: {error}")
        except rxws.RxwsError:
            pass  # which ends the messages, too

    def finish(self) -> None:
        """Print how to continue later."""
        known = {name: each for name, each in self._positions.items() if name in self._plan.topics}
        if not known:
            return
        if self._several:
            options = " ".join(f"--since {name}={position}" for name, position in known.items())
        else:
            options = f"--since {known[self._plan.topics[0]]}"
        note(f"to continue: {options}")

    async def _show_message(self, name: str, message: Message[Any]) -> None:
        self.count += 1
        if self._plan.json:
            value = message.value
            if self._plan.redis is not None:  # its hubs may use any codec
                value = parsed(value)
            await self._show_record(name, position=_text(message.position), value=value)
        else:
            columns = [str(message.position or "-")] * self._plan.positions
            columns += [name] * self._several
            text = "\t".join([*columns, as_text(message.value)])
            await write_soon((printable(text) if to_terminal() else text) + "\n")
        if message.position is not None:  # after it was written
            self._positions[name] = message.position
        if self.count == self._plan.count:
            self.complete.set()

    async def _show_gap(self, name: str, gap: Gap) -> None:
        if gap.before is not None:
            self._positions[name] = Position(gap.before.epoch, gap.before.offset - 1)
        after, before = _text(gap.after), _text(gap.before)
        if self._plan.json:
            await self._show_record(name, gap=gap.reason, after=after, before=before)
            return
        where = f" after {after}" if after else ""
        where += f" and before {before}" if before else ""
        note(f"{name}: messages may be missing{where}: {_REASONS[gap.reason]} ({gap.reason})")

    async def _show_presence(
        self, name: str, names: frozenset[str], before: frozenset[str] | None
    ) -> None:
        joined, left = sorted(names - (before or frozenset())), sorted((before or names) - names)
        if self._plan.json:
            await self._show_record(name, present=sorted(names), joined=joined, left=left)
            return
        changes = "" if before is None else _changes(joined, left)
        note(f"{name}: {changes}{len(names)} here{': ' * bool(names)}{_listed(sorted(names))}")

    async def _show_record(self, name: str, **fields: object) -> None:
        time = datetime.now().astimezone().isoformat(timespec="milliseconds")
        text = as_json({"time": time, "topic": name, **fields})
        await write_soon((printable(text) if to_terminal() else text) + "\n")


def _iterate(observable: Observable[Any]) -> AsyncIterable[Any]:
    return rxws.iterate(observable)


def _changes(joined: list[str], left: list[str]) -> str:
    return "".join(
        f"{_listed(names)} {verb}; "
        for names, verb in ((joined, "joined"), (left, "left"))
        if names
    )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return ", ".join(names[:_MAX_NAMES]) + more


def _text(position: Position | None) -> str | None:
    return None if position is None else str(position)


# --- where topics come from -----------------------------------------------------------------------


def _checked(make: Callable[..., T], *args: object, **options: object) -> T:
    """Call a function whose arguments the user has typed."""
    try:
        return make(*args, **options)
    except (TypeError, ValueError) as error:
        raise Failure(printable(str(error)), ExitCode.USAGE) from error


def _open(plan: Plan, lost: asyncio.Future[None]) -> Any:
    return _open_redis(plan) if plan.target is None else _open_server(plan, plan.target, lost)


@asynccontextmanager
async def _open_server(
    plan: Plan, target: Target, lost: asyncio.Future[None]
) -> AsyncGenerator[_OpenTopic]:
    """Open topics of a server. The future fails if the server cannot be reached at first."""
    was_open = is_open = False

    def on_status(status: Status) -> None:
        nonlocal was_open, is_open
        if isinstance(status, Open):
            if was_open:
                note("connected again")
            was_open = is_open = True
        elif isinstance(status, Waiting) and not was_open:
            if not lost.done():
                lost.set_exception(status.cause)
        elif isinstance(status, Waiting):
            lost_now, is_open = is_open, False
            note(f"{'connection lost' if lost_now else 'no connection'}: {status!r}")

    async with rxws.hub.connect(str(target.url), plan.token, **target.options) as client:
        with client.status.subscribe(on_status):
            yield client.topic


@asynccontextmanager
async def _open_redis(plan: Plan) -> AsyncGenerator[_OpenTopic]:
    """Open topics in Redis."""
    assert plan.redis is not None
    # A topic that keeps nothing has no positions here either: nothing is published.
    keep = rxws.Keep(max(plan.last, 1000))
    backplane = _checked(rxws.hub.RedisBackplane, plan.redis, prefix=plan.prefix)
    hub = _checked(rxws.Hub, backplane=backplane, topics=dict.fromkeys(plan.topics, keep))

    away = False

    def on_status(status: HubStatus) -> None:
        nonlocal away
        if isinstance(status, Away):
            note(f"Redis is away: {status.cause}")
        elif away:
            note("Redis is back")
        away = isinstance(status, Away)

    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(hub)
        except BackplaneError as error:
            raise Failure(printable(str(error)), ExitCode.COULD_NOT_CONNECT) from error
        with hub.status.subscribe(on_status):
            yield hub.topic
