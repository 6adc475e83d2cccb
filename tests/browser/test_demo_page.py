"""The page of the examples in a headless Chromium."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from support.peers.browser import Page
from support.processes.examples import ExampleServer, receive_text, running_demo


@pytest.fixture
async def demo() -> AsyncIterator[ExampleServer]:
    """Start the demo."""
    async with running_demo() as demo:
        yield demo


async def click(page: Page, what: str) -> None:
    """Click the element with the mouse."""
    box = await page.evaluate(
        f"""(() => {{
            const button = document.querySelector({what!r});
            button.scrollIntoView({{block: "center", behavior: "instant"}});
            const {{x, y, width, height}} = button.getBoundingClientRect();
            return {{x: x + width / 2, y: y + height / 2, disabled: button.disabled}};
        }})()"""
    )
    assert not box["disabled"], f"{what} is disabled"
    for kind in ("mousePressed", "mouseReleased"):
        await page.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=box["x"],
            y=box["y"],
            button="left",
            clickCount=1,
        )


async def replace_text(page: Page, what: str, text: str) -> None:
    """Replace the text of an input."""
    await page.evaluate(f"document.querySelector({what!r}).select()")
    await page.evaluate(f"document.querySelector({what!r}).focus()")
    await page.call("Input.insertText", text=text)


async def connect(page: Page, demo: ExampleServer, example: str) -> None:
    """Open an example on the page and connect."""
    await page.open(f"{demo.url}examples#{example}")
    await click(page, "#connect")
    await page.wait("document.querySelector('#state').dataset.state === 'open'")


async def log_row(page: Page, kind: str, number: int = 0) -> dict[str, Any]:
    """Wait for a row of the page's log; return its text and data attributes."""
    found = f"document.querySelectorAll('#rows li[data-kind={kind}]')[{number}]"
    await page.wait(f"{found} !== undefined")
    text = f"{found}.querySelector('.data').textContent"
    result: dict[str, Any] = await page.evaluate(f"({{text: {text}, ...{found}.dataset}})")
    return result


async def test_a_user_sends_receives_and_closes(page: Page, demo: ExampleServer) -> None:
    """A user sends text, sees it and the reply in the log, closes, and sees the close code."""
    await connect(page, demo, "shout")
    await replace_text(page, "#text", "hello, browser")
    await click(page, "#send-text")
    assert (await log_row(page, "sent"))["text"] == "hello, browser"
    assert (await log_row(page, "received"))["text"] == "HELLO, BROWSER"
    await replace_text(page, "#close-code", "4001")
    await replace_text(page, "#close-reason", "enough")
    await click(page, "#close")
    closed = await log_row(page, "close")
    assert (closed["code"], closed["clean"], closed["by"]) == ("4001", "true", "by you")
    assert await page.evaluate("document.querySelector('#state').textContent") == "closed"


async def test_binary_messages(page: Page, demo: ExampleServer) -> None:
    """The echo returns binary as binary; an example that accepts text only closes with 1003."""
    await connect(page, demo, "echo")
    await replace_text(page, "#text", "é")
    await click(page, "#send-binary")
    received = await log_row(page, "received")
    assert (received["type"], received["text"].split()) == ("binary", ["c3", "a9", "é"])
    await connect(page, demo, "shout")
    await click(page, "#send-binary")
    assert (await log_row(page, "close"))["code"] == "1003"


async def test_the_log_shows_the_servers_close(page: Page, demo: ExampleServer) -> None:
    """The log shows a close with 4003 and its reason; a 401 is a 1006 in a browser."""
    await connect(page, demo, "private")
    await replace_text(page, "#text", "open the box")
    await click(page, "#send-text")
    closed = await log_row(page, "close")
    assert (closed["code"], closed["clean"]) == ("4003", "true")
    assert closed["reason"] == "you may look, not open"
    assert closed["by"] == "by the server"
    await click(page, "#addresses button:nth-of-type(2)")  # the address without the token
    await click(page, "#connect")
    closed = await log_row(page, "close", 1)
    assert (closed["code"], closed["clean"], closed["by"]) == ("1006", "false", "refused")


async def test_the_time_line_shows_one_close(page: Page, demo: ExampleServer) -> None:
    """The time line has one bar for a close, through both lanes, with the code and who closed."""
    await connect(page, demo, "private")
    await replace_text(page, "#text", "open the box")
    await click(page, "#send-text")
    await log_row(page, "close")
    texts, bars = await page.evaluate(
        """(() => {
            const texts = [], bars = [];
            pen.fillText = (text) => texts.push(String(text));
            pen.moveTo = (x, y) => bars.push([x, y]);
            pen.lineTo = (x, y) => bars.at(-1).push(x, y);
            draw();
            return [texts, bars.filter(([x, top, x1, bottom]) => top < 36 && bottom > 84)];
        })()"""
    )
    assert [text for text in texts if text in ("4003", "by server")] == ["4003", "by server"]
    [(x, _, x1, _)] = [bar for bar in bars if bar[1] > 10]  # the others are the axis
    assert x == x1


async def test_the_log_shows_the_end_of_the_server(page: Page, demo: ExampleServer) -> None:
    """A server that stops closes with 1001; a server that is killed is a 1006."""
    await connect(page, demo, "ticker")
    await log_row(page, "received")
    assert await demo.end(signal.SIGTERM) == (0, "")
    closed = await log_row(page, "close")
    assert (closed["code"], closed["reason"], closed["clean"]) == ("1001", "Going Away", "true")
    async with running_demo() as another:
        await connect(page, another, "ticker")
        await log_row(page, "received")
        await another.end(signal.SIGKILL)
        closed = await log_row(page, "close")
        assert (closed["code"], closed["clean"], closed["by"]) == ("1006", "false", "lost")


async def test_suggested_messages_are_answered(page: Page, demo: ExampleServer) -> None:
    """Each message that the page suggests for the typed example is answered."""
    await connect(page, demo, "rpc")
    keys: list[str] = []
    for number in range(3):
        await click(page, f"#tries button:nth-of-type({number + 1})")
        await click(page, "#send-text")
        keys += json.loads((await log_row(page, "received", number))["text"])
    assert keys == ["id", "result", "error", "error"]


async def answer_text(page: Page, number: int, condition: str) -> str:
    """Wait until a condition on the state of an answer holds; return what the page shows of it."""
    item = f"#answers li:nth-of-type({number})"
    await page.wait(f"document.querySelector({item!r})?.dataset.state === {condition!r}")
    text: str = await page.evaluate(f"document.querySelector({item!r}).innerText")
    return text


async def press(page: Page, key: str, code: int) -> None:
    """Press and release a key."""
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        await page.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key,
            windowsVirtualKeyCode=code,
            **(text if kind == "keyDown" else {}),
        )


LONG = json.dumps({"id": 1, "prompt": "rain " * 400})  # the answer takes over a minute
FOCUSED = "(document.activeElement.ariaLabel ?? document.activeElement.textContent)"


@pytest.mark.parametrize("width", [390, 1200])
async def test_answers_are_cancelled_one_by_one(
    page: Page, demo: ExampleServer, width: int
) -> None:
    """With the keyboard, a user starts two answers, and cancels one while the other goes on.

    The focus moves to the next button, or to the list if no answer is running.
    """
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    await connect(page, demo, "tokens")
    await replace_text(page, "#text", LONG)
    for _ in range(2):
        await press(page, "Enter", 13)
    await page.wait("document.querySelectorAll('#answers li').length === 2")
    await page.evaluate("document.querySelector('#answers button').focus()")
    assert await page.evaluate(FOCUSED) == "Cancel answer 2"  # the latest answer is first
    await page.wait("document.querySelector('#answers').innerText.includes('You ask about rain')")
    wide, room = await page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= room

    await press(page, "Enter", 13)
    cancelled = await answer_text(page, 1, "cancelled")
    assert await page.evaluate(FOCUSED) == "Cancel answer 1"
    length = "document.querySelector('#answers li:nth-of-type(2)').innerText.length"
    await page.wait(f"{length} > {await page.evaluate(length)}")
    assert await answer_text(page, 1, "cancelled") == cancelled
    await press(page, "Enter", 13)
    await answer_text(page, 2, "cancelled")
    assert await page.evaluate(FOCUSED) == "Answers"


async def test_answers_are_beside_the_frames(page: Page, demo: ExampleServer) -> None:
    """In a wide window, answers take no height from the frames, and the page does not scroll."""
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=1400,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    await connect(page, demo, "tokens")
    rows = "document.querySelector('#rows').clientHeight"
    alone = await page.evaluate(rows)
    for _ in range(4):
        await click(page, "#send-text")
    await page.wait("document.querySelectorAll('#answers li').length === 4")
    assert await page.evaluate(rows) == alone
    assert alone >= 250
    tall, room = await page.evaluate("[document.documentElement.scrollHeight, innerHeight]")
    assert tall <= room


async def test_an_answer_is_shown_to_its_end(page: Page, demo: ExampleServer) -> None:
    """The page shows the tokens of an answer as one text."""
    await connect(page, demo, "tokens")
    await click(page, "#send-text")
    answer = await answer_text(page, 1, "done")
    assert answer.startswith("1 rain")
    assert "You ask about rain. It depends on the weather, and" in answer
    assert "and a little on luck." in answer


async def test_answers_end_with_errors_and_with_the_connection(
    page: Page, demo: ExampleServer
) -> None:
    """The page shows an error of an answer, a refused answer, and the end of the connection."""
    await connect(page, demo, "tokens")
    await click(page, "#tries button:nth-of-type(2)")  # an empty prompt
    await click(page, "#send-text")
    assert "the prompt is empty" in await answer_text(page, 1, "failed")
    await click(page, "#tries button:nth-of-type(1)")
    assert '"id": 2' in await page.evaluate("document.querySelector('#text').value")
    await replace_text(page, "#text", LONG.replace('"id": 1', '"id": 2'))
    for _ in range(5):
        await click(page, "#send-text")
    assert "too many answers at once" in await answer_text(page, 1, "failed")
    await click(page, "#close")
    assert "closed" in await answer_text(page, 2, "closed")
    assert await page.evaluate("document.querySelectorAll('#answers button').length") == 0
    await click(page, "#clear")
    assert await page.evaluate("document.querySelector('#answers').innerText") == ""


async def test_two_sockets_share_a_chat_room(page: Page, demo: ExampleServer) -> None:
    """Two sockets of one browser share a chat room, and one sees the other join and leave."""
    await connect(page, demo, "chat")
    await click(page, "#tries button:nth-of-type(1)")
    await click(page, "#send-text")
    assert json.loads((await log_row(page, "received", 0))["text"])["joined"] == "ann"
    await page.evaluate(
        """new Promise((resolve) => {
            const bob = new WebSocket(location.origin.replace("http", "ws") + "/chat?name=bob");
            bob.onopen = () => bob.send('{"join": "kitchen"}');
            bob.onmessage = ({data}) => { bob.close(3001); resolve(data); };
        })"""
    )
    heard = [json.loads((await log_row(page, "received", n))["text"]) for n in (1, 2)]
    assert heard == [{"room": "kitchen", "joined": "bob"}, {"room": "kitchen", "left": "bob"}]


async def test_the_room_shows_who_is_there(page: Page, demo: ExampleServer) -> None:
    """The room of the hub reports who comes, and shares its messages with its own web page."""
    await connect(page, demo, "room")
    assert (await log_row(page, "received", 0))["text"] == '{"here":["ann"]}'
    async with (
        aiohttp.ClientSession() as client,
        client.ws_connect(f"{demo.url}room?name=bob") as bob,
    ):
        assert (await log_row(page, "received", 1))["text"] == '{"here":["ann","bob"]}'
        await click(page, "#send-text")
        while json.loads(await receive_text(bob)) != {"text": "hello", "name": "ann"}:
            pass
    assert (await log_row(page, "received", 2))["text"] == '{"text":"hello","name":"ann"}'
    assert (await log_row(page, "received", 3))["text"] == '{"here":["ann"]}'
    await page.open(await page.evaluate("document.querySelector('#blurb a').href"))
    await page.wait("document.querySelector('#lines').innerText.includes('ann hello')")


async def test_a_large_compressed_message_and_a_close_without_a_code(
    page: Page, demo: ExampleServer
) -> None:
    """200 KiB with the browser's compression go both ways; a close without a code is a 1005."""
    await page.open(f"{demo.url}examples")
    result = await page.evaluate(
        """new Promise((resolve) => {
            const socket = new WebSocket(location.origin.replace("http", "ws") + "/echo");
            const text = "résumé ".repeat(25600);
            let same = false;
            socket.onopen = () => socket.send(text);
            socket.onmessage = ({data}) => { same = data === text; socket.close(); };
            socket.onclose = ({code, wasClean}) =>
                resolve({same, code, wasClean, extensions: socket.extensions});
        })"""
    )
    assert result["same"]
    assert "permessage-deflate" in result["extensions"]
    assert (result["code"], result["wasClean"]) == (1005, True)


async def test_a_page_of_another_origin_is_refused(page: Page, demo: ExampleServer) -> None:
    """A page of another origin, here another host name, gets no connection."""
    await page.open(f"http://localhost:{demo.port}/examples")
    await replace_text(page, "#url", f"ws://127.0.0.1:{demo.port}/shout")
    await click(page, "#connect")
    closed = await log_row(page, "close")
    assert (closed["code"], closed["clean"]) == ("1006", "false")
    await replace_text(page, "#url", f"ws://localhost:{demo.port}/shout")
    await click(page, "#connect")
    await log_row(page, "open")


async def test_the_log_shows_errors(page: Page, demo: ExampleServer) -> None:
    """The log shows the errors for an invalid close code and an invalid address."""
    await connect(page, demo, "shout")
    await replace_text(page, "#close-code", "1006")
    await click(page, "#close")
    assert "1006" in (await log_row(page, "error"))["text"]
    await replace_text(page, "#close-code", "1000")
    await click(page, "#close")
    await log_row(page, "close")
    await replace_text(page, "#url", "nonsense:/")
    await click(page, "#connect")
    assert "nonsense" in (await log_row(page, "error", 1))["text"]


@pytest.mark.parametrize("button", ["#connect", "#send-text"])
async def test_a_button_keeps_its_colour_under_the_mouse(
    page: Page, demo: ExampleServer, button: str
) -> None:
    """The mouse over a coloured button leaves its text readable."""
    await page.open(f"{demo.url}examples")
    await page.evaluate("for (const one of document.querySelectorAll('button')) one.disabled = 0")
    style = f"getComputedStyle(document.querySelector({button!r}))"
    colours = f"[{style}.backgroundColor, {style}.color]"
    before = await page.evaluate(colours)
    x, y = await page.evaluate(
        f"""(() => {{
            const button = document.querySelector({button!r});
            button.scrollIntoView({{block: "center", behavior: "instant"}});
            const box = button.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        }})()"""
    )
    await page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert await page.evaluate(f"document.querySelector({button!r}).matches(':hover')")
    assert await page.evaluate(colours) == before


@pytest.mark.parametrize("width", [400, 1200])
async def test_the_page_fits(page: Page, demo: ExampleServer, width: int) -> None:
    """Nothing overflows a narrow or wide window, and every example can be opened."""
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    await page.open(f"{demo.url}examples")
    tabs = await page.evaluate("document.querySelectorAll('nav button').length")
    for number in range(tabs):
        await click(page, f"nav button:nth-of-type({number + 1})")
        await page.evaluate("document.querySelector('details').open = true")
        await page.wait("document.querySelector('#source').textContent.includes('import rxws')")
        wide, room = await page.evaluate(
            "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        )
        assert wide <= room
    await asyncio.wait_for(page.call("Page.captureScreenshot"), 30)
