"""The server at which a person types, without a terminal or a socket."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, Self

import click
import pytest

from rxws import Close
from rxws._core.frames import Opcode
from rxws.cli._entries import Entry, Help, Ping, Send
from rxws.cli.serve._talk import Talk
from support.virtual.session import VirtualSession

PATIENCE = 30.0  # seconds

LOST = "closed with 1006 (abnormal closure) by the network"
_TALK_SYS = "rxws.cli.serve._talk.sys"


class Keyboard:
    """A console at which the test types; it notes what is shown."""

    def __init__(self, typed: Any, file: object, stop: asyncio.Event) -> None:
        assert typed.typed("/close 4001") == Close(4001)
        self.entries: asyncio.Queue[Entry | None] = asyncio.Queue()
        self.shown: list[str | bytes] = []
        self.notes: list[str] = []
        self.error: Exception | None = None
        self.is_free = asyncio.Event()
        self.is_free.set()

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...

    async def actions(self) -> AsyncIterator[Entry]:
        while (entry := await self.entries.get()) is not None:
            yield entry

    async def show(self, text: str | bytes) -> None:
        await self.is_free.wait()
        if self.error is not None:
            raise self.error
        self.shown.append(text)

    def note(self, text: str) -> None:
        self.notes.append(text)


async def settled() -> None:
    """Let tasks run that need no time."""
    for _ in range(20):
        await asyncio.sleep(0)


class Server:
    """A `Talk` at a terminal; its clients are in virtual time."""

    def __init__(self, count: int | None = None) -> None:
        self.stop = asyncio.Event()
        self.talk = Talk(count, self.stop)
        self.keyboard: Keyboard = self.talk._console

    async def __aenter__(self) -> Self:
        self.running = asyncio.ensure_future(self.talk.until("ws://here/"))
        await settled()
        assert self.take_notes() == ["serving ws://here/"]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop.set()
        await asyncio.wait([self.running])

    async def connect(self) -> VirtualSession:
        virtual = VirtualSession(self.talk.handler)
        await settled()
        return virtual

    async def type(self, *entries: Entry | None) -> None:
        for entry in entries:
            await self.keyboard.entries.put(entry)
        await settled()

    def take_notes(self) -> list[str]:
        notes, self.keyboard.notes = self.keyboard.notes, []
        return notes


@pytest.fixture
def _at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = SimpleNamespace(isatty=lambda: True)
    monkeypatch.setattr(_TALK_SYS, SimpleNamespace(stdin=terminal, stdout=terminal))
    monkeypatch.setattr("rxws.cli.connect._prompt.Prompt", Keyboard)


async def receive(virtual: VirtualSession, *messages: str | bytes) -> None:
    virtual.peer.message(*messages)
    for _ in range(10):
        virtual.settle()
        await settled()


def sent(virtual: VirtualSession) -> list[Any]:
    """Return the messages, pings and close codes that a client gets."""
    names = {Opcode.PING: "ping", Opcode.CLOSE: "close"}
    return [names.get(each.kind, each.message) for each in virtual.transport.sent]


@pytest.mark.usefixtures("_at_a_terminal")
async def test_what_is_typed_goes_to_all_clients() -> None:
    """A message typed too early is not lost silently."""
    async with Server() as server:
        await server.type(Send("too early"))
        assert server.take_notes() == ["nobody is connected: this was not sent"]
        one, two = await server.connect(), await server.connect()
        assert server.take_notes() == ["#1 connected to /", "#2 connected to /"]
        await server.type(Send("hi"), Send(b"\x00"))
        assert sent(one) == sent(two) == ["hi", b"\x00"]


@pytest.mark.usefixtures("_at_a_terminal")
async def test_messages_are_numbered_once_there_are_several_clients() -> None:
    """With one client, its number would be noise."""
    async with Server() as server:
        one = await server.connect()
        await receive(one, "alone", b"\x01")
        two = await server.connect()
        await receive(two, "second")
        await receive(one, "first")
        assert server.keyboard.shown == ["alone\n", "01\n", "#2 second\n", "#1 first\n"]


@pytest.mark.usefixtures("_at_a_terminal")
async def test_commands_reach_all_clients() -> None:
    """Each pong is noted with the client's number, and so is the end of each connection."""
    async with Server() as server:
        one, two = await server.connect(), await server.connect()
        server.take_notes()
        await server.type(Ping())
        assert sent(one) == sent(two) == ["ping"]
        one.run(0.25)
        one.peer.pong(one.transport.sent[0].payload)
        two.peer.lost()
        two.settle()
        await settled()
        noted = ["#1 pong after 250.0 ms", f"#2 {LOST}"]
        assert sorted(server.take_notes()) == noted
        await server.type(Close(4001, "bye"))
        assert one.transport.sent[-1].code == 4001
        one.peer.close(4001)
        await settled()
        assert server.take_notes() == ["#1 closed with 4001 'bye' by this side"]
        await server.type(Help())
        assert "/close" in server.take_notes()[0]


@pytest.mark.usefixtures("_at_a_terminal")
@pytest.mark.parametrize("end", ["Ctrl-C", "Ctrl-D"])
async def test_the_server_ends_with_the_keyboard(end: str) -> None:
    """Connections are closed with 1001 then, and a ping that waits for its pong is given up."""
    async with Server() as server:
        await server.connect()
        await server.type(Ping())
        await server.type(None) if end == "Ctrl-D" else server.stop.set()
        assert (await asyncio.wait_for(server.running, PATIENCE)).code == 1001


@pytest.mark.usefixtures("_at_a_terminal")
async def test_the_server_ends_after_a_number_of_messages() -> None:
    """`-n 2` closes with 1000 after the second message, and shows no third one."""
    async with Server(2) as server:
        one = await server.connect()
        await receive(one, "a", "b", "c")
        assert (await asyncio.wait_for(server.running, PATIENCE)).code == 1000
        assert server.keyboard.shown == ["a\n", "b\n"]


@pytest.mark.usefixtures("_at_a_terminal")
async def test_clients_wait_for_each_other_if_stdout_is_slow() -> None:
    """Their messages keep their order, and no more than the number of `-n` are shown."""
    async with Server(2) as server:
        clients = [await server.connect() for _ in range(3)]
        server.keyboard.is_free.clear()
        for number, client in enumerate(clients, 1):
            await receive(client, str(number))
        server.keyboard.is_free.set()
        assert (await asyncio.wait_for(server.running, PATIENCE)).code == 1000
        assert server.keyboard.shown == ["#1 1\n", "#2 2\n"]


@pytest.mark.usefixtures("_at_a_terminal")
async def test_a_reader_that_has_gone_ends_the_server() -> None:
    """It ends once, although messages of several clients cannot be shown."""
    async with Server() as server:
        one, two = await server.connect(), await server.connect()
        server.keyboard.error = BrokenPipeError()
        server.keyboard.is_free.clear()
        await receive(one, "a")
        await receive(two, "b")
        server.keyboard.is_free.set()
        with pytest.raises(BrokenPipeError):
            await asyncio.wait_for(server.running, PATIENCE)


# --- a pipe -----------------------------------------------------------------------------------


@pytest.fixture
def pipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Make stdin a pipe; return how to write to it, where nothing is its end."""
    end, file = os.pipe()
    out = SimpleNamespace(isatty=lambda: False)
    before = threading.enumerate()
    with open(end, encoding="utf-8") as stdin:
        with open(file, "wb", buffering=0) as stream:
            monkeypatch.setattr(_TALK_SYS, SimpleNamespace(stdin=stdin, stdout=out))

            def write(data: bytes) -> None:
                stream.write(data)
                if not data:
                    stream.close()

            yield write
        for thread in threading.enumerate():
            if thread.daemon and thread not in before:
                thread.join(PATIENCE)  # else it may read from the pipe of the next test


async def arrival(virtual: VirtualSession, number: int) -> None:
    """Wait until so many messages were sent."""
    async with asyncio.timeout(PATIENCE):
        while len(virtual.transport.sent) < number:  # noqa: ASYNC110 # its list has no event
            await asyncio.sleep(0)


async def test_the_lines_of_a_pipe_wait_for_a_client(
    pipe: Callable[[bytes], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """Lines go to the first client, and to those who come later; the end of the pipe is no end."""
    stop = asyncio.Event()
    talk = Talk(None, stop)
    running = asyncio.ensure_future(talk.until("ws://here/"))
    pipe(b"one\n")
    await settled()
    first = VirtualSession(talk.handler)
    await arrival(first, 1)
    second = VirtualSession(talk.handler)
    pipe("zwölf\n".encode())
    await arrival(second, 1)
    pipe(b"")
    await settled()
    assert not running.done()
    assert (sent(first), sent(second)) == (["one", "zwölf"], ["zwölf"])
    stop.set()
    assert (await running).code == 1001
    assert capsys.readouterr().err == "serving ws://here/\n#1 connected to /\n#2 connected to /\n"


async def test_a_client_that_does_not_read_slows_the_pipe(pipe: Callable[[bytes], None]) -> None:
    """A file may be larger than the send buffer; if that client is lost, the next lines go on."""
    stop = asyncio.Event()
    talk = Talk(None, stop)
    running = asyncio.ensure_future(talk.until("ws://here/"))
    slow, other = VirtualSession(talk.handler), VirtualSession(talk.handler)
    slow.peer.stop()
    pipe(b"1\n2\n3\n")
    await arrival(other, 1)
    await settled()
    assert sent(other) == ["1"]
    slow.peer.lost()
    slow.settle()
    await arrival(other, 3)
    assert sent(other) == ["1", "2", "3"]
    stop.set()
    await running


async def test_a_line_that_is_no_text_ends_the_server(pipe: Callable[[bytes], None]) -> None:
    """Nothing is sent with other characters than those of the file."""
    talk = Talk(None, asyncio.Event())
    running = asyncio.ensure_future(talk.until("ws://here/"))
    client = VirtualSession(talk.handler)
    pipe(b"good\n\xff\n")
    with pytest.raises(click.UsageError, match=r"Line 2 of the input is not UTF-8: b'\\xff'\."):
        await asyncio.wait_for(running, PATIENCE)
    assert sent(client) == ["good"]


async def test_messages_of_clients_go_to_stdout(
    pipe: Callable[[bytes], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have no number in a pipe, and the server ends after the last one of `-n`."""
    shown: list[str | bytes] = []

    async def write_soon(data: str | bytes) -> None:
        shown.append(data)

    monkeypatch.setattr("rxws.cli.serve._talk.write_soon", write_soon)
    talk = Talk(2, asyncio.Event())
    running = asyncio.ensure_future(talk.until("ws://here/"))
    for text in ("one", "two"):
        await receive(VirtualSession(talk.handler), text)
    assert (await asyncio.wait_for(running, PATIENCE)).code == 1000
    assert shown == ["one\n", "two\n"]
