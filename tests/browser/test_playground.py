"""The playground in a headless Chromium."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web

import rxws
from rxws.cli.playground import _feed, add_playground
from support.peers.browser import Page
from support.processes.examples import ExampleServer, running_demo

STATE = "document.querySelector('#client').dataset.state"
IS_OPEN = f"{STATE} === 'Open'"


@pytest.fixture
async def url(serve: Callable[[web.Application], Awaitable[int]]) -> str:
    """Serve the playground."""
    app = web.Application()
    add_playground(app, links={"Examples": "/examples"})
    rxws.setup(app)
    return f"http://127.0.0.1:{await serve(app)}/"


async def show(
    page: Page, url: str, width: int = 1400, scheme: str = "light", motion: str = "no-preference"
) -> None:
    """Open the playground in a window, and wait until it is connected."""
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    await page.call(
        "Emulation.setEmulatedMedia",
        features=[
            {"name": "prefers-color-scheme", "value": scheme},
            {"name": "prefers-reduced-motion", "value": motion},
        ],
    )
    await page.open(url)
    await page.wait(IS_OPEN)


async def press(page: Page, key: str, shift: bool = False) -> None:
    """Press and release a key."""
    code = {"Tab": 9, "Enter": 13, " ": 32, "ArrowRight": 39, "ArrowDown": 40}[key]
    text = {"Enter": "\r", " ": " "}.get(key)
    for kind in ("keyDown", "keyUp"):
        await page.call(
            "Input.dispatchKeyEvent",
            type=kind,
            key=key,
            code=key if key != " " else "Space",
            windowsVirtualKeyCode=code,
            modifiers=8 if shift else 0,
            **({"text": text} if text and kind == "keyDown" else {}),
        )


async def tab_to(page: Page, selector: str) -> None:
    """Move the focus with the Tab key, as a user of the keyboard does."""
    for _ in range(80):
        await press(page, "Tab")
        if await page.evaluate(f"document.activeElement.matches({selector!r})"):
            return
    raise AssertionError(f"the Tab key does not reach {selector}")


async def write(page: Page, text: str) -> None:
    """Replace the text of the focused input."""
    await page.evaluate("document.activeElement.select()")
    await page.call("Input.insertText", text=text)


async def choose(page: Page, title: str) -> None:
    """Choose an example, and wait until its pipeline runs."""
    await page.evaluate("document.querySelector('#code').textContent = ''")
    await page.evaluate(
        "[...document.querySelectorAll('#presets button')]"
        f".find((button) => button.textContent === {title!r}).click()"
    )
    await page.wait("document.querySelector('#code').textContent !== ''")
    await page.wait(IS_OPEN)


def cell(lane: str, column: int) -> str:
    return (
        f"document.querySelector('#summary tr[data-lane=\"{lane}\"]').cells[{column}].textContent"
    )


def rows(kind: str) -> str:
    return (
        f"[...document.querySelectorAll('#frames tr[data-kind={kind}]')]"
        ".map((row) => row.lastElementChild.textContent)"
    )


def text(selector: str) -> str:
    return f"document.querySelector({selector!r}).textContent"


async def test_a_visitor_sees_an_example_at_once(page: Page, url: str) -> None:
    """The page opens with a running example: its lanes, its frames and its code."""
    await show(page, url)
    await page.wait(f"{cell('received', 2)} === 'REACT'")
    assert await page.evaluate(f"[{cell('incoming', 1)}, {cell('1', 1)}]") == ["5", "1"]
    assert await page.evaluate(rows("outgoing")) == ["REACT"]
    assert await page.evaluate(rows("incoming")) == ["react", "reac", "rea", "re", "r"]
    assert "ops.debounce(0.3)" in await page.evaluate(text("#code"))
    assert page.log == []


async def test_the_marbles_are_drawn(page: Page, url: str) -> None:
    """The canvas shows the names of the lanes, the values and the status."""
    await show(page, url)
    await page.evaluate(
        """(() => {
            window.texts = [];
            const pen = document.querySelector('#marbles').getContext('2d');
            const fillText = pen.fillText.bind(pen);
            pen.fillText = (...all) => { texts.push(String(all[0])); fillText(...all); };
        })()"""
    )
    await page.wait(f"{cell('received', 2)} === 'REACT'")
    drawn = await page.evaluate(
        "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => "
        "done([...new Set(texts)]))))"
    )
    assert {"↓ incoming", "debounce", "0.3 s", "map: upper case", "↑ outgoing", "Open"} <= set(
        drawn
    )


async def test_a_user_of_the_keyboard_composes_a_pipeline(page: Page, url: str) -> None:
    """With the keyboard only: choose an example, change a step, add one, send, and close."""
    await show(page, url)
    await tab_to(page, "#presets button:nth-child(3)")
    await press(page, "Enter")
    await page.wait("document.querySelector('#code').textContent.includes('ops.filter')")
    await tab_to(page, "[aria-label='step 1: contains']")
    await write(page, "ello")
    await tab_to(page, "#add")
    await press(page, "Enter")
    await page.wait("document.activeElement.ariaLabel === 'Step 2'")
    await page.wait("document.querySelector('#code').textContent.includes('str.upper')")
    assert '"ello" in text' in await page.evaluate(text("#code"))
    await page.wait(IS_OPEN)
    await tab_to(page, "#text")
    for message in ("hello", "bye"):
        await write(page, message)
        await press(page, "Enter")
        await page.wait(f"{rows('incoming')}.includes({message!r})")
    await page.wait(f"{rows('outgoing')}[0] === 'HELLO'")
    await tab_to(page, "#code-input")
    await write(page, "4321")
    await press(page, "Tab")
    await write(page, "enough")
    await press(page, "Tab")
    await press(page, "Tab")
    await press(page, "Enter")
    await page.wait(f"{STATE} === 'Closed'")
    await page.wait(f"{rows('closed')}.length")
    assert await page.evaluate(text("#client")) == (
        "Closed 4321 “enough” by the server: the stream failed with ConnectionClosed"
    )
    assert await page.evaluate(rows("closed")) == [
        "4321 your own code, “enough”, by the server; incoming completed"
    ]
    await tab_to(page, "#connect")
    await press(page, "Enter")
    await page.wait(IS_OPEN)
    assert await page.evaluate("document.activeElement.id") == "text"
    # A removed step passes the focus on.
    await tab_to(page, "[aria-label^='Remove step 1']")
    await press(page, "Enter")
    await page.wait("document.querySelectorAll('#steps li').length === 1")
    assert await page.evaluate("document.activeElement.ariaLabel") == "Step 1"


async def test_the_focus_is_visible(page: Page, url: str) -> None:
    """Each control that has the focus shows an outline."""
    await show(page, url)
    seen = set()
    for _ in range(60):
        await press(page, "Tab")
        name, outline = await page.evaluate(
            """(() => {
                const {activeElement: one} = document, style = getComputedStyle(one);
                return [one.id || one.textContent.trim() || one.ariaLabel,
                        style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 1];
            })()"""
        )
        if await page.evaluate("document.activeElement === document.body"):
            break
        assert outline, name
        seen.add(name)
    assert {"text", "cut", "server", "copy", "picture", "code-input", "add"} <= seen


async def test_a_wrong_parameter_gets_a_message(page: Page, url: str) -> None:
    """The message names the step; the pipeline before it keeps running."""
    await show(page, url)
    field = "document.querySelector('[aria-label=\"step 1: time in s\"]')"
    for value, message in (("99", "not 99"), ("", "not None")):
        await page.evaluate(
            f"{field}.value = {value!r}; {field}.dispatchEvent(new Event('change'))"
        )
        await page.wait(f"{text('#problem')}.includes({message!r})")
        assert "step 1, debounce: time must be a number" in await page.evaluate(text("#problem"))
    assert "ops.debounce(0.3)" in await page.evaluate(text("#code"))
    await page.evaluate(f"{field}.value = '0.1'; {field}.dispatchEvent(new Event('change'))")
    await page.wait(f"{text('#code')}.includes('ops.debounce(0.1)')")
    assert await page.evaluate(text("#problem")) == ""


async def test_the_slow_reader_shows_back_pressure(page: Page, url: str) -> None:
    """The buffer fills, drops are counted, and all of it recovers at full speed."""
    await show(page, url)
    await choose(page, "slow peer")
    await page.wait(f"{text('#dropped')}.includes('overflow')")
    assert await page.evaluate(text("#writable")) == "no"
    assert await page.evaluate("document.querySelector('#buffer').value > 8192")
    assert await page.evaluate("document.querySelector('[name=speed]:checked').value") == "slow"
    await page.evaluate("document.querySelector('#repeat').click()")
    await page.evaluate("document.querySelector('[name=speed][value=full]').focus()")
    await press(page, " ")
    await page.wait(f"{text('#writable')} === 'yes'")


async def test_the_kill_switch_shows_reconnection(page: Page, url: str) -> None:
    """The client waits with a countdown while the server is away, and is open again after it."""
    await show(page, url)
    await choose(page, "map")
    await page.wait(f"{rows('outgoing')}.length === 2")
    await tab_to(page, "#server")
    await press(page, " ")
    await page.wait(rf"/^Waiting, next attempt in \d+\.\d s$/.test({text('#client')})")
    assert await page.evaluate("document.querySelector('#server').ariaChecked") == "false"
    assert "1006 abnormal closure" in (await page.evaluate(rows("closed")))[0]
    await page.evaluate("document.querySelector('#send-form').requestSubmit()")
    await page.wait(f"{text('#queued')} === '1'")
    await press(page, " ")
    await page.wait(IS_OPEN)
    await page.wait(f"{rows('outgoing')}[0] === 'OLLEH'")


async def test_an_exception_of_a_step_is_shown(page: Page, url: str) -> None:
    """The table names the exception and the code 1011, once, and the client is open again."""
    await show(page, url)
    await choose(page, "failure")
    await page.wait(f"{rows('closed')}.length === 1")
    [error] = await page.evaluate(rows("error"))
    assert error.startswith("ValueError in step 1: invalid literal")
    assert (await page.evaluate(rows("closed")))[0].startswith("1011 internal error")
    await page.wait(IS_OPEN)


async def test_an_answer_is_cancelled(page: Page, url: str) -> None:
    """Tokens appear as a text, until the visitor cancels the answer."""
    await show(page, url)
    await choose(page, "tokens")
    await page.wait(f"{text('#answer')}.startsWith('You ask')")
    await page.evaluate("document.querySelector('#cancel').click()")
    await page.wait(f"{rows('incoming')}[0] === 'stop'")
    before = await page.evaluate(cell("received", 1))
    await page.evaluate("document.querySelector('#send-form').requestSubmit()")
    await page.wait(f"{text('#answer')}.includes('rain:')")
    # Only the tokens of the new answer were added.
    assert int(await page.evaluate(cell("received", 1))) - int(before) <= 6


async def test_a_burst_above_the_limit_counts_what_is_left_out(
    page: Page, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page says how many events it does not show."""
    monkeypatch.setattr(_feed, "EVENTS_PER_SECOND", 1)  # else a slow machine may keep up
    await show(page, url)
    await choose(page, "map")
    await page.evaluate("document.querySelector('#burst').value = 100")
    for _ in range(2):
        await page.evaluate("document.querySelector('#send-burst').click()")
    await page.wait(f"{text('#left-out')}.includes('events were left out')")


async def test_the_room_shows_presence(page: Page, url: str) -> None:
    """Two seats see each other join, write and leave."""
    await show(page, url)
    await page.evaluate("location.hash = '#room'")
    seat = "document.querySelectorAll('.seat')"
    here = f"[...{seat}[0].querySelectorAll('.here li')].map((each) => each.textContent)"
    await page.evaluate(
        f"for (const [i, name] of ['Ann', 'Bob'].entries()) {seat}[i].querySelector('input').value"
        " = name"
    )
    await page.wait(f"{seat}[0].dataset.joined === 'true'")
    await page.evaluate(f"{seat}[0].querySelector('button').click()")
    await page.wait(f"{here}[0] === 'not joined'")
    for number in (0, 1):
        await page.evaluate(f"{seat}[{number}].querySelector('button').click()")
    await page.wait(f"{here}.join() === 'Ann,Bob'")
    await page.evaluate(
        f"{seat}[1].querySelectorAll('form')[1].querySelector('input').value = 'hello';"
        f"{seat}[1].querySelectorAll('form')[1].requestSubmit()"
    )
    await page.wait(f"{seat}[0].querySelector('.log').textContent === 'Bob hello'")
    await page.evaluate(f"{seat}[1].querySelector('button').click()")
    await page.wait(f"{here}.join() === 'Ann'")
    await page.evaluate(f"{seat}[1].querySelector('input').value = ''")
    assert await page.evaluate(f"{seat}[1].querySelector('form').checkValidity()") is False


async def test_the_page_survives_a_restart_of_its_server(page: Page) -> None:
    """The page says that the server is away, connects again, and starts the same pipeline."""
    async with running_demo() as demo:
        await survive_restart(page, demo)
    # The failed attempts are in the browser's console; nothing else may be.
    assert all("ERR_CONNECTION" in line or "WebSocket" in line for line in page.log), page.log


async def survive_restart(page: Page, demo: ExampleServer) -> None:
    await show(page, demo.url)
    await choose(page, "buffer")
    await page.evaluate("location.hash = '#room'")
    await page.wait("document.querySelector('.seat').dataset.joined === 'true'")
    await demo.end(signal.SIGKILL)
    await page.wait(f"{text('#lost-text')}.startsWith('The playground')")
    async with running_demo(port=demo.port):
        await page.evaluate("document.querySelector('#retry').click()")
        await page.wait("document.querySelector('#lost').hidden")
        await page.wait("document.querySelector('.seat').dataset.joined === 'true'")
        await page.evaluate("location.hash = ''")
        await page.wait(IS_OPEN)
        assert "buffer_with_time_or_count" in await page.evaluate(text("#code"))
        chosen = "document.querySelector('#presets [aria-pressed=true]').textContent"
        assert await page.evaluate(chosen) == "buffer"
        await page.evaluate("document.querySelector('#send-form').requestSubmit()")
        await page.wait(f"{rows('outgoing')}[0]?.startsWith('item')")


async def test_the_state_is_announced_but_not_every_message(page: Page, url: str) -> None:
    """Screen readers hear of states, at most every 1.5 s, and of no message."""
    await show(page, url)
    await choose(page, "slow peer")
    await page.evaluate(
        """(() => {
            window.said = [];
            const note = document.querySelector('#announce');
            new MutationObserver(() => said.push([performance.now(), note.textContent]))
                .observe(note, {childList: true});
            window.left = [];  // the states that were left, also those that no frame shows
            new MutationObserver((records) => left.push(...records.map((each) => each.oldValue)))
                .observe(document.querySelector('#client'),
                         {attributeFilter: ['data-state'], attributeOldValue: true});
        })()"""
    )
    for count in range(1, 4):
        await page.evaluate("document.querySelector('#cut').click()")
        await page.wait(f"left.filter((state) => state === 'Waiting').length >= {count}")
        await page.wait(IS_OPEN)
    await page.wait(f"{text('#announce')} === 'Client: Open'")
    said = await page.evaluate("said")
    assert len(said) >= 2
    assert all("Waiting" in line or line.startswith("Client:") for _, line in said)
    gaps = [later[0] - before[0] for before, later in itertools.pairwise(said)]
    assert all(gap >= 1400 for gap in gaps)
    live = "[...document.querySelectorAll('[role=log], [aria-live], [role=status]')].length"
    assert await page.evaluate(live) == 1


async def test_with_reduced_motion_the_diagram_is_redrawn_seldom(page: Page, url: str) -> None:
    """The diagram does not move; it is drawn again once per second."""
    await show(page, url, motion="reduce")
    frames = await page.evaluate(
        """new Promise((resolve) => {
            const pen = document.querySelector('#marbles').getContext('2d');
            let count = 0;
            const clearRect = pen.clearRect.bind(pen);
            pen.clearRect = (...all) => { count += 1; clearRect(...all); };
            setTimeout(() => resolve(count), 2500);
        })"""
    )
    assert 1 <= frames <= 4


@pytest.mark.parametrize("width", [320, 760, 1200])
async def test_the_page_fits(page: Page, url: str, width: int) -> None:
    """Nothing overflows the window, in either view, with any example."""
    await show(page, url, width)
    titles = await page.evaluate(
        "[...document.querySelectorAll('#presets button')].map((button) => button.textContent)"
    )
    assert len(titles) == 12
    for title in titles:
        await choose(page, title)
        await page.evaluate("document.querySelector('details').open = true")
        assert await overflowing(page) == []
    await page.evaluate("location.hash = '#room'")
    await page.wait("!document.querySelector('#room-view').hidden")
    assert await overflowing(page) == []


async def overflowing(page: Page) -> list[str]:
    """Return what reaches beyond the window and is not in something that scrolls."""
    result: list[str] = await page.evaluate(
        """[...document.querySelectorAll('body *')].filter((one) => {
            const box = one.getBoundingClientRect();
            return box.width && box.right > document.documentElement.clientWidth + 0.5
                && !one.closest('pre, .scroll, .hidden, .canvas');
        }).map((one) => one.outerHTML.slice(0, 80))"""
    )
    wide, room = await page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    return result + ([f"the page is {wide} px wide"] if wide > room else [])


LUMINANCE = """
    const linear = (c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4;
    const luminance = (rgb) => rgb.map((c) => linear(c / 255))
        .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
    const contrast = (one, other) => {
        const [high, low] = [one, other].sort((a, b) => b - a);
        return (high + .05) / (low + .05);
    };
"""
CONTRAST = f"""(() => {{
    {LUMINANCE}
    const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const behind = (one) => {{
        for (; one; one = one.parentElement) {{
            const colour = parse(getComputedStyle(one).backgroundColor);
            if (colour[3] !== 0) return colour;
        }}
        return [255, 255, 255];
    }};
    const hasText = (one) => one.matches('input, select')
        || [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    return [...document.querySelectorAll('body *')]
        .filter((one) => hasText(one) && one.getClientRects().length)
        .filter((one) => !one.closest('.hidden, option') && !one.disabled)
        .map((one) => [one.outerHTML.slice(0, 90), contrast(
            luminance(parse(getComputedStyle(one).color).slice(0, 3)),
            luminance(behind(one).slice(0, 3)))])
        .filter(([, ratio]) => ratio < 4.5);
}})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_text_is_easy_to_read(page: Page, url: str, scheme: str) -> None:
    """All text has a contrast of at least 4.5, also on errors, chosen examples and in the room."""
    await show(page, url, scheme=scheme)
    await choose(page, "failure")
    await page.wait(f"{rows('closed')}.length === 1")
    await page.evaluate("document.querySelector('#code-input').value = 9")
    await page.evaluate("document.querySelector('[value=server][name=side]').click()")
    await page.wait(f"{text('#problem')} !== ''")
    await page.evaluate("document.querySelector('details').open = true")
    assert await page.evaluate(CONTRAST) == []
    await page.evaluate("location.hash = '#room'")
    await page.wait("document.querySelector('.seat').dataset.joined === 'true'")
    assert await page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_text_on_marbles_is_easy_to_read(page: Page, url: str, scheme: str) -> None:
    """The text on each colour of a marble is black or white, with a contrast of at least 4.5."""
    await show(page, url, scheme=scheme)
    ratios = await page.evaluate(
        f"""import('/playground/marbles.js').then(({{Marbles}}) => {{
            {LUMINANCE}
            const style = getComputedStyle(document.documentElement);
            const names = ['in', 'out', 'good', 'edge', 1, 2, 3, 4, 5, 6];
            return Object.fromEntries(names.map((name) => {{
                const fill = style.getPropertyValue(`--${{name}}`).trim();
                const rgb = [1, 3, 5].map((i) => parseInt(fill.slice(i, i + 2), 16));
                const on = Marbles.prototype.on(fill) === '#000' ? 0 : 1;
                return [name, contrast(luminance(rgb), on)];
            }}));
        }})"""
    )
    assert len(ratios) == 10
    assert {name: ratio for name, ratio in ratios.items() if ratio < 4.5} == {}


async def test_everything_has_a_name(page: Page, url: str) -> None:
    """Each control has a name and each id is unique; there is one main heading, and a language."""
    await show(page, url)
    await choose(page, "slow peer")
    tree = (await page.call("Accessibility.getFullAXTree"))["nodes"]
    roles = {"button", "textbox", "spinbutton", "combobox", "radio", "switch", "link", "meter"}
    controls: list[Any] = [node for node in tree if node.get("role", {}).get("value") in roles]
    assert len(controls) > 30
    nameless = [node for node in controls if not node.get("name", {}).get("value")]
    assert nameless == []
    facts = await page.evaluate(
        """(() => {
            const ids = [...document.querySelectorAll('[id]')].map(({id}) => id);
            const referred = ['aria-labelledby', 'aria-describedby'].flatMap((name) =>
                [...document.querySelectorAll(`[${name}]`)].map((one) => one.getAttribute(name)));
            const low = (one) => one.getBoundingClientRect().height < 24;
            return {
                twice: ids.filter((id, i) => ids.indexOf(id) !== i),
                missing: referred.filter((id) => !ids.includes(id)),
                headings: document.querySelectorAll('h1').length,
                lang: document.documentElement.lang,
                images: document.querySelectorAll('img:not([alt])').length,
                small: [...document.querySelectorAll('button, select')]
                    .filter((one) => one.getClientRects().length && low(one)).length,
            };
        })()"""
    )
    assert facts == {
        "twice": [],
        "missing": [],
        "headings": 1,
        "lang": "en",
        "images": 0,
        "small": 0,
    }


async def test_the_code_can_be_copied(page: Page, url: str) -> None:
    """The button puts the shown program on the clipboard."""
    await page.call(
        "Browser.grantPermissions",
        permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
    )
    await show(page, url)
    await page.call("Page.bringToFront")
    await page.evaluate("document.querySelector('#copy').click()")
    await page.wait(f"['Copied', 'Selected'].includes({text('#copy')})")
    shown = await page.evaluate(text("#code"))
    if await page.evaluate(text("#copy")) == "Copied":
        assert await page.evaluate("navigator.clipboard.readText()") == shown
    else:
        assert await page.evaluate("getSelection().toString()") == shown.strip()


async def test_the_picture_can_be_saved(page: Page, url: str) -> None:
    """The button saves the diagram that rxws draws of the latest connection."""
    await show(page, url)
    await page.wait(f"{rows('outgoing')}.length === 1")
    await page.evaluate(
        """(() => {
            const make = URL.createObjectURL.bind(URL);
            window.saved = new Promise((done) => {
                URL.createObjectURL = (blob) => { done(blob.text()); return make(blob); };
            });
        })()"""
    )
    await page.evaluate("document.querySelector('#picture').click()")
    picture = await page.evaluate("saved")
    assert picture.startswith("<svg")
    assert "REACT" in picture
    assert await page.evaluate(text("#problem")) == ""


async def test_an_empty_diagram_says_what_to_do(page: Page, url: str) -> None:
    """Without messages, the diagram has a hint."""
    await show(page, url)
    await page.evaluate(
        """(() => {
            const pen = document.querySelector('#marbles').getContext('2d');
            const fillText = pen.fillText.bind(pen);
            pen.fillText = (...all) => {
                fillText(...all);
                document.body.dataset.hint ??= "";
                if (all[0].startsWith?.("Send a message")) document.body.dataset.hint = "yes";
            };
        })()"""
    )
    await page.evaluate("document.querySelector('[aria-label^=\"Remove step 1\"]').click()")
    await page.wait("document.body.dataset.hint === 'yes'")


async def test_the_playground_links_the_examples(page: Page, url: str) -> None:
    """`make demo` serves the pages of the examples, too."""
    await show(page, url)
    assert await page.evaluate("document.querySelector('#links a').href") == f"{url}examples"
