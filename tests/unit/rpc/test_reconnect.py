"""A `Caller` of a `WebSocketSubject`, in virtual time: which calls survive a lost connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

import rxws
from rxws import codecs
from rxws.operators import map_async
from rxws.rpc import Caller, CallLost, Methods, Peer
from support.subscriber import Subscriber
from support.virtual.rpc import error, notification, request, result
from support.virtual.subject import VirtualSubject, open_at_once, received_by


class Client:
    """A peer of a subject, and the servers that it dials."""

    def __init__(self, methods: Methods | None = None, **options: Any) -> None:
        limits = {
            name: options.pop(name) for name in ("max_calls", "queue_items") if name in options
        }
        self.subject = VirtualSubject(**options)
        self.peer = Peer(self.subject.feed, methods, **limits)
        self.caller: Caller[Any] = self.peer.caller
        self.tasks: list[asyncio.Task[Any]] = []

    async def call(self, method: str, *args: Any, **options: Any) -> asyncio.Task[Any]:
        """Start a call, and return its task when it is sent or waits."""
        call = self.caller.with_options(**options).call(method, *args)
        self.tasks.append(asyncio.create_task(call))
        await self.settle()
        return self.tasks[-1]

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
            self.subject.run()

    async def lose(self) -> None:
        """Lose the connection."""
        self.subject.dials[-1].peer.lost()
        await self.settle()

    async def reconnect(self) -> None:
        """Wait for the next connection."""
        self.subject.run(1.5)
        await self.settle()

    def sent(self, dial: int = -1) -> list[Any]:
        """Return the messages that a server received, by default the latest one."""
        return [json.loads(message) for message in received_by(self.subject.dials[dial])]

    def answer(self, *messages: Any) -> None:
        """Let the latest server send messages."""
        for message in messages:
            self.subject.dials[-1].peer.message(json.dumps(message))


@pytest.fixture
async def clients() -> AsyncIterator[list[Client]]:
    made: list[Client] = []
    yield made
    for client in made:
        client.peer.dispose()
        await client.settle()
        await asyncio.gather(*client.tasks, return_exceptions=True)


@pytest.fixture
async def client(clients: list[Client]) -> Client:
    clients.append(Client())
    await clients[0].settle()
    return clients[0]


async def test_the_peer_connects_and_closes(client: Client) -> None:
    """A peer of a subject connects at once, and closes with 1000 when it is disposed."""
    call = await client.call("add", 1, 2)
    assert client.sent() == [request(1, "add", [1, 2])]
    client.answer(result(1, 3))
    assert await call == 3
    client.peer.dispose()
    client.subject.check_nothing_left()


@pytest.mark.promise("rpc-lost")
async def test_a_call_that_was_sent_fails(client: Client) -> None:
    """If the connection is lost, a call that was sent fails, and says that it may have run."""
    call = await client.call("pay")
    await client.lose()
    with pytest.raises(CallLost, match="may have run") as caught:
        await call
    assert caught.value.may_have_run
    await client.reconnect()
    assert client.sent() == []
    again = await client.call("pay")
    client.answer(result(2, "paid"))
    assert await again == "paid"


async def test_calls_made_offline_go_with_the_next_connection(client: Client) -> None:
    """Calls, streams and notifications made while offline are sent later, in their order."""
    await client.lose()
    call = await client.call("a")
    client.caller.notify("b", 1)
    stream = Subscriber(client.caller.stream("c"))
    await client.reconnect()
    assert client.sent() == [
        request(1, "a"),
        notification("b", [1]),
        request(3, "c", {"partialResultToken": 3}),
    ]
    client.answer(result(1, "x"), notification("$/progress", {"token": 3, "value": [1]}))
    client.answer(result(3, None))
    assert await call == "x"
    assert stream.notifications == [1, "|"]


async def test_unwritten_calls_go_with_the_next_connection(client: Client) -> None:
    """A call that waits because the server does not read was not sent: it goes with the next."""
    client.subject.dials[0].peer.stop()
    written = await client.call("fills")
    unsent = await client.call("waits")
    client.caller.notify("note")
    await client.lose()
    await client.reconnect()
    with pytest.raises(CallLost):
        await written
    assert client.sent() == [request(2, "waits"), notification("note")]
    client.answer(result(2, "ok"))
    assert await unsent == "ok"
    assert client.sent(0)[:1] == [request(1, "fills")]
    assert request(2, "waits") not in client.sent(0)


async def test_idempotent_calls_are_sent_again(client: Client) -> None:
    """An idempotent call is sent again on each connection until it is answered."""
    call = await client.call("price", idempotent=True)
    for _ in range(3):
        await client.lose()
        assert not call.done()
        await client.reconnect()
        assert client.sent() == [request(1, "price")]
    client.answer(result(1, 5))
    assert await call == 5


async def test_idempotent_streams(client: Client) -> None:
    """An idempotent stream is sent again if it has emitted nothing; otherwise it fails."""
    caller = client.caller.with_options(idempotent=True)
    silent, begun = Subscriber(caller.stream("silent")), Subscriber(caller.stream("begun"))
    client.answer(notification("$/progress", {"token": 2, "value": ["x"]}))
    await client.lose()
    await client.reconnect()
    assert client.sent() == [request(1, "silent", {"partialResultToken": 1})]
    client.answer(notification("$/progress", {"token": 1, "value": ["y"]}), result(1, None))
    assert silent.notifications == ["y", "|"]
    assert begun.values == ["x"]
    assert isinstance(begun.error, CallLost)


async def test_an_idempotent_call_in_the_end(clients: list[Client]) -> None:
    """If the subject gives up, an idempotent call that was sent once may have run."""
    client = Client(retryable=lambda error: False)
    clients.append(client)
    await client.settle()
    call = await client.call("price", idempotent=True)
    never_sent = await client.call("x")
    await client.lose()
    for each in (call, never_sent):
        with pytest.raises(CallLost) as caught:
            await each
        assert caught.value.may_have_run
    with pytest.raises(CallLost, match="has not run"):
        await client.caller.call("later")


async def test_a_cancelled_call_that_was_not_sent(client: Client) -> None:
    """Cancelling a call that waits for a connection withdraws it: nothing is sent."""
    await client.lose()
    call, other = await client.call("a"), await client.call("b")
    call.cancel()
    await client.settle()
    await client.reconnect()
    assert client.sent() == [request(2, "b")]
    client.answer(result(2, 1))
    assert await other == 1


async def test_a_cancelled_call_behind_a_full_wire(client: Client) -> None:
    """Cancelling a call that was not written withdraws it, too."""
    client.subject.dials[0].peer.stop()
    fills = await client.call("fills")
    call = await client.call("waits")
    call.cancel()
    await client.settle()
    client.subject.dials[0].peer.go()
    await client.settle()
    assert client.sent() == [request(1, "fills")]
    fills.cancel()
    await client.settle()
    assert client.sent()[1:] == [notification("$/cancelRequest", {"id": 1})]


async def test_a_timeout_while_offline(client: Client) -> None:
    """The timeout of a call includes the time that it waits for a connection."""
    await client.lose()
    call = await client.call("a", timeout=0.5)
    client.subject.run(0.6)
    with pytest.raises(TimeoutError):
        await call
    await client.reconnect()
    assert client.sent() == []


async def test_notifications_wait_in_a_bounded_queue(clients: list[Client]) -> None:
    """Notifications above `max_calls` that wait for a connection raise."""
    client = Client(max_calls=2)
    clients.append(client)
    await client.settle()
    for _ in range(5):
        client.caller.notify("written")
    await client.lose()
    client.caller.notify("a")
    client.caller.notify("b")
    with pytest.raises(rxws.rpc.TooManyCalls, match="'c' was not sent"):
        client.caller.notify("c")
    await client.reconnect()
    assert client.sent() == [notification("a"), notification("b")]


async def test_the_messages_of_opening_come_first(clients: list[Client]) -> None:
    """Waiting calls are sent after the messages of `opening` and the channels."""
    client = Client(opening=lambda conn: ['"hello"'])
    clients.append(client)
    channel = Subscriber(client.subject.feed.channel('"sub"', None, lambda value: False))
    await client.settle()
    await client.lose()
    await client.call("a")
    await client.reconnect()
    assert client.sent() == ["hello", "sub", request(1, "a")]
    channel.subscription.dispose()


async def test_methods_run_for_the_server(clients: list[Client]) -> None:
    """The server of a subject may call methods; the loss of the connection cancels them."""
    log: list[str] = []
    methods = Methods()

    @methods.add
    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            log.append("cancelled")
            raise

    @methods.add
    def add(a: int, b: int) -> int:
        return a + b

    client = Client(methods)
    clients.append(client)
    await client.settle()
    client.answer(request(1, "wait"), request(2, "add", [1, 2]), request(3, "no"))
    assert client.sent() == [result(2, 3), error(3, -32601, "Method not found")]
    await client.settle()
    await client.lose()
    assert log == ["cancelled"]
    await client.reconnect()
    assert client.sent() == []
    client.answer(request(1, "add", [1, 2]))
    assert client.sent() == [result(1, 3)]


async def test_late_answers_of_a_lost_call(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer on the next connection to a call of the last one is an unknown answer."""
    call = await client.call("a")
    call.cancel()
    await client.settle()
    await client.lose()
    await client.reconnect()
    client.answer(result(1, 1))
    assert "unknown answer: an answer with id 1" in caplog.text


async def test_an_answer_to_a_call_that_was_not_written(client: Client) -> None:
    """An answer, or progress, before the request was written is a mistake of the other side."""
    client.subject.dials[0].peer.stop()
    await client.call("fills")
    call = await client.call("waits")
    stream = Subscriber(client.caller.stream("items"))
    progress = notification("$/progress", {"token": 3, "value": [1]})
    client.answer(result(2, "guessed"), progress, result(3, None))
    assert client.peer.stats.mistakes == {"unknown answer": 2}
    client.subject.dials[0].peer.go()
    await client.settle()
    client.answer(result(2, "ok"), progress, result(3, None))
    assert await call == "ok"
    assert stream.notifications == [1, "|"]


async def test_when_full_hold_pauses_the_subject(clients: list[Client]) -> None:
    """A full queue with `when_full="hold"` pauses the connection of the subject."""
    client = Client(queue_items=1)
    clients.append(client)
    await client.settle()
    release = asyncio.Event()

    async def work(item: Any) -> Any:
        await release.wait()
        return item

    stream = client.caller.with_options(when_full="hold").stream("x")
    slow = Subscriber(stream.pipe(map_async(work)))
    session = client.subject.dials[-1].session
    assert session is not None
    gate = session.gate
    for number in range(6):
        client.answer(notification("$/progress", {"token": 1, "value": [number]}))
        assert gate.held_by_user == (number >= 2)
    release.set()
    for _ in range(10):
        await client.settle()
    assert slow.values == [0, 1, 2, 3, 4, 5]
    assert not gate.held_by_user
    slow.subscription.dispose()


def test_the_codec_of_a_subject() -> None:
    """A subject with another codec is a TypeError; a text subject is not."""
    url = "ws://127.0.0.1:9/"
    with pytest.raises(TypeError, match="has another codec"):
        Peer(rxws.WebSocketSubject(url, codec=codecs.json))


async def test_connections_with_another_codec(clients: list[Client]) -> None:
    """If the connections of an Observable have another codec, calls fail with a TypeError."""
    client = Client()
    client.peer.dispose()
    subject = VirtualSubject(open_at_once(codec=codecs.json))
    peer = Peer(subject.feed)
    call = asyncio.create_task(peer.caller.call("x"))
    for _ in range(10):
        await asyncio.sleep(0)
        subject.run()
    with pytest.raises(CallLost) as caught:
        await call
    assert isinstance(caught.value.__cause__, TypeError)
    subject.check_nothing_left()


async def test_a_subscriber_that_raises(client: Client) -> None:
    """If a subscriber of a stream raises, the `errors` of the subject emit the exception."""
    errors = Subscriber(client.subject.feed.errors)

    def fail(item: Any) -> None:
        raise ValueError(item)

    client.caller.stream("x").subscribe(fail)
    client.answer(notification("$/progress", {"token": 1, "value": ["a"]}))
    assert [str(each) for each in errors.values] == ["a"]


async def test_the_repr_without_a_connection(client: Client) -> None:
    """The repr says that there is no connection."""
    await client.lose()
    assert repr(client.peer) == "<Peer no connection running=0 calls=0>"
