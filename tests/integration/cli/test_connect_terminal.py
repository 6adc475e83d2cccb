"""`rxws connect` in a real terminal, as a person types."""

from __future__ import annotations

import asyncio
import re
import stat
from pathlib import Path

import pytest
from aiohttp import WSMsgType, web

import rxws
from support.fixtures import Serve
from support.peers.raw import Peer, RawServer
from support.terminal import Terminal, open_terminal

HELP = "/help lists the commands, Ctrl-D closes"


async def connect(terminal: Terminal, server: RawServer, *options: str) -> Peer:
    """Start `rxws connect`, and wait for its prompt."""
    await terminal.run("connect", server.url, "--heartbeat", "0", *options)
    peer = await server.accept()
    await terminal.shows(f"connected to {server.url}", HELP, ">")
    return peer


async def test_the_screen_does_not_scroll_before_it_is_full() -> None:
    """Nothing that was on the screen gets lost."""
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server)
        screen = await terminal.lines()
        await terminal.enter("hi")
        await terminal.ends_with(*screen[:-1], "> hi", ">")
        await peer.text("one")
        await terminal.ends_with(*screen[:-1], "> hi", "< one", ">")
        await terminal.type("/")
        await terminal.press("Tab")  # shows a menu below
        await terminal.until(lambda lines: "/close" in "".join(lines))
        await peer.text("two")
        await terminal.until(lambda lines: "< two" in lines)
        await terminal.press("C-u")
        await terminal.ends_with(*screen[:-1], "> hi", "< one", "< two", ">")


async def sent(peer: Peer, *texts: str | bytes) -> None:
    """Wait for messages, and check that they are all."""
    payloads = [text.encode() if isinstance(text, str) else text for text in texts]
    assert [frame.payload for frame in await peer.messages(len(texts))] == payloads


async def end(terminal: Terminal, peer: Peer, code: int = 1000, reason: str = "") -> None:
    """Answer the close frame, and wait for the shell."""
    frame = await peer.closing()
    assert frame.payload == code.to_bytes(2, "big") + reason.encode()
    await peer.close(code, reason)
    await terminal.until(lambda lines: lines[-1] == "$")


async def test_a_conversation() -> None:
    """Messages are sent with Enter and shown above the prompt; Ctrl-D closes with 1000."""
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server)
        await terminal.enter("hi")
        await sent(peer, "hi")
        await peer.text("hello\x1b[2J")
        await peer.frame(2, b"\x00\xff")
        await terminal.ends_with("> hi", "< hello\\x1b[2J", "< 00ff", ">")
        await terminal.press("C-d")
        await end(terminal, peer)
        await terminal.ends_with(">", "closed with 1000 (normal closure) by this side", "$")


async def test_messages_that_arrive_while_a_person_types() -> None:
    """The line being typed stays, with its cursor, and is sent as it was typed."""
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server)
        await terminal.type("one three")
        await terminal.ends_with("> one three")
        await peer.text("first")
        await terminal.ends_with("< first", "> one three")
        await terminal.press(*["Left"] * 5)
        await terminal.type("two ")
        for number in range(100):
            await peer.text(f"message {number}")
        await terminal.ends_with("< message 98", "< message 99", "> one two three")
        await terminal.press("Enter")
        await sent(peer, "one two three")


async def test_the_history(tmp_path: Path) -> None:
    """The arrow keys recall messages, also those of an earlier run; only the user can read them."""
    async with RawServer() as server, open_terminal(XDG_STATE_HOME=str(tmp_path)) as terminal:
        peer = await connect(terminal, server)
        await terminal.enter("first")
        await terminal.enter("second")
        await terminal.ends_with("> first", "> second", ">")
        await terminal.press("Up", "Up")
        await terminal.ends_with("> first")
        await terminal.press("Enter", "C-d")
        await sent(peer, "first", "second", "first")
        await end(terminal, peer)
        await terminal.enter("clear")
        await terminal.run("connect", server.url)
        peer = await server.accept()
        await terminal.ends_with(HELP, ">")
        await terminal.press("Up", "Up", "Up", "Down", "Enter")
        await sent(peer, "second")
        await terminal.press("C-d")
        await end(terminal, peer)
    history = tmp_path / "rxws" / "history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


async def test_a_history_that_cannot_be_kept(tmp_path: Path) -> None:
    """Without a place for the history, the arrow keys still work."""
    blocked = tmp_path / "file"
    blocked.write_text("", "utf-8")
    async with RawServer() as server, open_terminal(XDG_STATE_HOME=str(blocked)) as terminal:
        peer = await connect(terminal, server)
        path = blocked / "rxws" / "history"
        lines = "".join(await terminal.lines())
        assert f"what you type is not kept: {path}: Not a directory" in lines
        await terminal.enter("hi")
        await terminal.ends_with("> hi", ">")
        await terminal.press("Up", "Enter", "C-d")
        await sent(peer, "hi", "hi")
        await end(terminal, peer)


async def test_a_paste_of_several_lines_is_one_message() -> None:
    """Pasted lines can be edited, and are sent together with Enter; Alt-Enter starts a new line."""
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server)
        await terminal.paste('{\n  "a": 1\n}\n')
        await terminal.ends_with("> {", '  "a": 1', "}")
        await terminal.press("Enter")
        await sent(peer, '{\n  "a": 1\n}')
        await terminal.type("x")
        await terminal.press("Escape", "Enter")
        await terminal.enter("y")
        await sent(peer, '{\n  "a": 1\n}', "x\ny")


async def test_commands() -> None:
    """Commands are completed with Tab, explained by /help, and a mistake ends nothing."""
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server)
        await terminal.enter("/nope")
        await terminal.until(lambda lines: lines[-2] == " with // to send this text.")
        await terminal.enter("@missing")
        await terminal.until(lambda lines: "No such file" in lines[-2])
        await terminal.enter("/help")
        await terminal.shows(
            "  /ping                    ping the server, and show the round-trip time"
        )
        await terminal.type("/pi")
        await terminal.press("Tab")
        await terminal.ends_with("> /ping")
        await terminal.press("Enter")
        ping = await peer.ping(0)
        await terminal.enter("while it waits")
        await sent(peer, "while it waits")
        await peer.frame(0xA, ping.payload)
        await terminal.until(lambda lines: re.fullmatch(r"pong after \d+\.\d ms", lines[-2]))
        await terminal.enter("/hex 00ff")
        await terminal.enter("//x")
        await sent(peer, "while it waits", b"\x00\xff", "/x")
        await terminal.enter("/close 4001 why")
        await end(terminal, peer, 4001, "why")
        await terminal.ends_with("> /close 4001 why", "closed with 4001 'why' by this side", "$")


async def test_ctrl_c() -> None:
    """Ctrl-C closes with 1000, also in the middle of a line; a second one gives up."""
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server)
        await terminal.type("half")
        await terminal.press("C-c")
        await end(terminal, peer)
        peer = await connect(terminal, server, "-n", "3")
        await terminal.press("C-d")
        await end(terminal, peer)
        await terminal.enter("echo $?")
        await terminal.ends_with("$ echo $?", "0", "$")
        await terminal.run("connect", server.url)
        peer = await server.accept()
        await terminal.shows(f"connected to {server.url}", HELP, ">")
        await terminal.press("C-c")
        await peer.closing()
        await terminal.press("C-c")
        await terminal.ends_with("^C$")  # the terminal shows the second one
        await terminal.enter("echo $?")
        await terminal.ends_with("^C$ echo $?", "130", "$")
        await terminal.enter("stty -a | grep -o ' icanon'")
        await terminal.ends_with(" icanon", "$")


async def test_the_end_by_the_server() -> None:
    """A close of the server ends the prompt; what was being typed stays on the screen."""
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server)
        await terminal.type("half")
        await terminal.ends_with("> half")
        await peer.close(4001, "why")
        await peer.answer_close()
        await terminal.ends_with("> half", "Error: closed with 4001 'why' by the server", "$")
        peer = await connect(terminal, server)
        await peer.close(1001)
        await peer.answer_close()
        await terminal.ends_with(HELP, "closed with 1001 (going away) by the server", "$")


async def test_a_narrow_terminal() -> None:
    """Long lines wrap, and what arrives does not overwrite what is typed."""
    async with RawServer() as server, open_terminal(width=30) as terminal:
        await terminal.run("connect", server.url)
        peer = await server.accept()
        await terminal.until(lambda lines: lines[-1] == ">")
        typed = "a long message that needs several lines ☃ 漢字"
        await terminal.type(typed)
        await terminal.until(lambda lines: lines[-1].endswith("漢字"))
        await peer.text("a long answer that needs several lines, too")
        await terminal.ends_with(
            "< a long answer that needs sev",
            "eral lines, too",
            "> a long message that needs se",
            "veral lines ☃ 漢字",
        )
        await terminal.press("Enter")
        await sent(peer, typed)


async def test_messages_are_stored_and_shown(tmp_path: Path) -> None:
    """With `-o`, the file has messages as they came, and a person sees them, escaped."""
    file = tmp_path / "messages"
    async with RawServer() as server, open_terminal() as terminal:
        peer = await connect(terminal, server, "-o", str(file), "--time")
        await peer.text("hi\x1b")
        shown = re.compile(r"< \d\d:\d\d:\d\d\.\d{3} hi\\x1b")
        await terminal.until(lambda lines: shown.fullmatch(lines[-2]))
        await terminal.press("C-d")
        await end(terminal, peer)
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{3} hi\x1b\n", file.read_text("utf-8"))


async def test_reconnecting_is_shown() -> None:
    """The states are shown above the prompt, and what is typed meanwhile is sent later."""
    async with RawServer() as server, open_terminal() as terminal:
        await terminal.run("connect", server.url, "--reconnect")
        peer = await server.accept()
        await terminal.ends_with("Connecting, attempt 1", f"Open {server.url}", ">")
        await peer.rst()
        await terminal.shows("Closed 1006 by network")
        await terminal.enter("queued")
        peer = await server.accept()
        await sent(peer, "queued")
        await terminal.shows("Connecting, attempt 2", f"Open {server.url}")
        await terminal.press("C-d")
        await end(terminal, peer)
        await terminal.ends_with("Closed 1000 by local", "$")


async def test_rpc(serve: Serve) -> None:
    """Calls run at the same time; errors and notifications are shown, and nothing ends."""
    methods = rxws.rpc.Methods()
    release = asyncio.Event()

    @methods.add
    async def slow(context: rxws.rpc.Context) -> str:
        context.caller.notify("started", 1)
        await release.wait()
        return "done"

    @methods.add
    def add(a: int, b: int) -> int:
        release.set()
        return a + b

    url = f"ws://127.0.0.1:{await serve(rxws.websocket(rxws.rpc.serve(methods)))}/"
    async with open_terminal() as terminal:
        await terminal.run("connect", url, "--rpc")
        await terminal.ends_with(HELP, ">")
        await terminal.enter("nope")
        await terminal.ends_with("nope: Method not found (-32601)", ">")
        await terminal.enter("slow")
        await terminal.ends_with("started [1]", ">")
        await terminal.enter("add 1 2")
        await terminal.ends_with("< 3", "< done", ">")
        await terminal.press("C-d")
        await terminal.ends_with("closed with 1000 (normal closure) by this side", "$")


async def test_typed_input_and_a_piped_output() -> None:
    """If the output is not a terminal, there is no prompt: lines are read as from a pipe."""

    async with RawServer() as server, open_terminal() as terminal:
        await terminal.enter(f"rxws connect {server.url} -n 1 | cat")
        peer = await server.accept()
        await terminal.enter("/hi")
        await sent(peer, "/hi")
        await peer.text("hello")
        await peer.answer_close()
        await terminal.ends_with("/hi", "hello", "$")


async def test_a_flood_of_messages(serve: Serve) -> None:
    """Many messages at once are printed in order, and the prompt comes back."""

    async def flood(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        for number in range(5000):
            await ws.send_str(str(number))
        async for message in ws:
            assert message.type is WSMsgType.TEXT
        return ws

    async with open_terminal() as terminal:
        await terminal.run("connect", f"ws://127.0.0.1:{await serve(flood)}/")
        await terminal.ends_with("< 4997", "< 4998", "< 4999", ">")
        await terminal.press("C-d")
        await terminal.ends_with(">", "closed with 1000 (normal closure) by this side", "$")


@pytest.mark.parametrize("variable", ["NO_COLOR", "COLOR"])
async def test_colours(variable: str) -> None:
    """Received messages are marked with a colour, unless NO_COLOR is set."""
    async with RawServer() as server, open_terminal() as terminal:
        if variable == "COLOR":
            await terminal.enter("unset NO_COLOR")
        peer = await connect(terminal, server)
        await peer.text("hi")
        await terminal.ends_with("< hi", ">")
        screen = await terminal.tmux("capture-pane", "-p", "-e")
        assert bool(re.search(r"\x1b\[34m[^<]*< ", screen)) == (variable == "COLOR")
