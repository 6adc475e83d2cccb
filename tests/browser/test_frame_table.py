"""The frame table in a real browser, while the page replaces the table."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from rxws import Close, DecodeError, Recording
from rxws.viz.frame_table.rows import Rows
from rxws.viz.frame_table.table import table_html
from support.peers.browser import Page
from support.pictures.recordings import add, blank, count, put

SHOWN = "[...document.querySelectorAll('tbody tr:not(.rxws-hidden)')].map(row => +row.dataset.n)"
BOTTOM = "document.querySelector('.rxws-scroll').scrollTop === 0"


class TableOnPage:
    """A frame table on a page that can be drawn again."""

    def __init__(self, page: Page, recording: Recording, keep: int = 200) -> None:
        self.page = page
        self.rows = Rows(recording, keep)

    async def draw(self) -> None:
        """Replace the table on the page with its current state."""
        await put(self.page, table_html(self.rows.content(), "one"))

    async def numbers(self) -> list[int]:
        """Return the numbers of the visible rows."""
        found: list[int] = await self.page.evaluate(SHOWN)
        return found

    async def count_text(self) -> str:
        """Return the text of the row count."""
        found: str = await self.page.evaluate("document.querySelector('.rxws-count').textContent")
        return found

    async def filter(self, text: str) -> None:
        """Replace the text of the filter field."""
        await self.page.evaluate("document.querySelector('input').focus()")
        await self.page.evaluate("document.querySelector('input').select()")
        if text:
            await self.page.call("Input.insertText", text=text)
        else:
            await self.key("Delete", 46)

    async def key(self, key: str, code: int) -> None:
        """Press a key."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.page.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code
            )

    async def mouse(self, what: str, kind: str) -> None:
        """Press or release the mouse in the middle of an element."""
        x, y = await self.page.evaluate(
            f"(() => {{const {{x, y, height}} = document.querySelector({what!r})"
            ".getBoundingClientRect(); return [x + 8, y + height / 2]})()"
        )
        await self.page.call(
            "Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1
        )

    async def click(self, what: str) -> None:
        """Click an element, drawing the table between press and release."""
        await self.mouse(what, "mousePressed")
        await self.draw()
        await self.mouse(what, "mouseReleased")


@pytest.fixture
async def page(page: Page, tmp_path: Path) -> AsyncIterator[Page]:
    """Open a page with a host element for tables."""
    file = tmp_path / "page.html"
    file.write_text("<!doctype html><meta charset=utf-8><div id=host></div><p>behind</p>")
    await page.open(file.as_uri())
    yield page
    assert page.log == []


def row_numbers(*indices: int) -> list[int]:
    return [index + 1 for index in indices]  # rows are numbered from 1


async def test_filter_by_text_regex_and_direction(page: Page) -> None:
    """Text, a regular expression or a direction filters rows, and the count shows how many."""
    recording = blank()
    count(recording, 0, 30)
    table = TableOnPage(page, recording)
    await table.draw()
    assert await table.numbers() == row_numbers(*range(30))
    assert await table.count_text() == ""
    below = "document.querySelector('body > p').getBoundingClientRect().top"
    before = await page.evaluate(below)
    await table.filter('"I": 7')
    assert await table.numbers() == row_numbers(7)
    assert await page.evaluate(below) == before
    assert await table.count_text() == "1 of 30 shown"
    await table.filter("/[12]9/")
    assert await table.numbers() == row_numbers(19, 29)
    await table.filter("/I/i")
    assert len(await table.numbers()) == 30
    await table.filter("/(/")
    assert len(await table.numbers()) == 30
    assert await page.evaluate("document.querySelector('input').matches('[aria-invalid]')")
    assert await table.count_text() == "not a regular expression"
    await table.filter("")
    assert await table.count_text() == ""
    await table.click(".rxws-dirs .out")
    assert await table.numbers() == row_numbers(*range(2, 30, 3))
    await table.click(".rxws-dirs .in")
    assert await table.numbers() == row_numbers(*(i for i in range(30) if i % 3 != 2))
    await table.click(".rxws-dirs button")
    assert len(await table.numbers()) == 30


async def test_typing_while_frames_arrive(page: Page) -> None:
    """The filter's text, cursor and selection survive redrawing the table."""
    recording = blank()
    table = TableOnPage(page, recording)
    await table.draw()
    await page.evaluate("document.querySelector('input').focus()")
    for i, character in enumerate("12 9"):
        await page.call("Input.insertText", text=character)
        count(recording, 50 * i, 50 * i + 50)
        await table.draw()
    await page.evaluate("document.querySelector('input').setSelectionRange(2, 3)")
    await table.draw()
    await table.key("Delete", 46)
    await table.draw()
    assert await page.evaluate("document.querySelector('input').value") == "129"
    assert await table.numbers() == row_numbers(129)
    assert await page.evaluate("document.activeElement === document.querySelector('input')")


async def test_redrawing_does_not_steal_the_focus(page: Page) -> None:
    """Redrawing the table does not return the focus to the filter after the user left it."""
    table = TableOnPage(page, blank())
    await table.draw()
    await page.evaluate("document.querySelector('input').focus()")
    await page.evaluate(
        "document.body.append(Object.assign(document.createElement('textarea'), {id: 'cell'}))"
    )
    await page.evaluate("document.querySelector('#cell').focus()")
    await table.draw()
    assert await page.evaluate("document.activeElement.id") == "cell"
    # The table disappears for a moment together with the focus; the user selects another field.
    await page.evaluate("document.querySelector('input').focus()")
    await page.evaluate("document.querySelector('#host').replaceChildren()")
    await page.evaluate("document.querySelector('#cell').focus()")
    await table.draw()
    assert await page.evaluate("document.activeElement.id") == "cell"
    await page.evaluate("document.activeElement.blur()")
    await page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    await table.draw()
    assert await page.evaluate("document.activeElement === document.body")


async def test_a_paused_table_counts_newer_frames(page: Page) -> None:
    """A paused table keeps its rows and counts newer frames, until it resumes."""
    recording = blank()
    count(recording, 0, 5)
    table = TableOnPage(page, recording, keep=10)
    await table.draw()
    await table.click(".rxws-dirs + button")
    assert await table.count_text() == "paused"
    count(recording, 5, 8)
    await table.draw()
    assert await table.numbers() == row_numbers(*range(5))
    assert await table.count_text() == "paused, 3 newer"
    count(recording, 8, 40)
    await table.draw()
    assert await table.numbers() == row_numbers(*range(5))
    await table.filter("3")
    await table.draw()
    assert await table.numbers() == row_numbers(3)
    assert (await table.count_text()).startswith("1 of 5 shown, paused")
    await table.filter("")
    await table.click(".rxws-dirs + button")
    assert await table.numbers() == row_numbers(*range(30, 40))
    assert await table.count_text() == ""


async def test_clear_hides_existing_rows(page: Page) -> None:
    """After "clear" only later rows are shown."""
    recording = blank()
    count(recording, 0, 5)
    table = TableOnPage(page, recording)
    await table.draw()
    await table.click(".rxws-dirs + button + button")
    assert await table.numbers() == []
    count(recording, 5, 7)
    await table.draw()
    assert await table.numbers() == row_numbers(5, 6)


async def test_the_table_follows_new_rows_unless_scrolled_up(page: Page) -> None:
    """At the bottom the table follows new rows; when scrolled up, it stays in place."""
    recording = blank()
    count(recording, 0, 100)
    table = TableOnPage(page, recording, keep=100)
    await table.draw()
    assert await page.evaluate(BOTTOM)
    where = (
        "(n => document.querySelector(`tr[data-n='${n}']`).getBoundingClientRect().top"
        " - document.querySelector('.rxws-scroll').getBoundingClientRect().top)"
    )
    settled = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
    count(recording, 100, 110)
    await table.draw()
    assert await page.evaluate(BOTTOM)
    await page.evaluate("document.querySelector('.rxws-scroll').scrollTop = -600")
    await page.evaluate(settled)
    before = await page.evaluate(f"{where}(80)")
    for start in (110, 117):
        count(recording, start, start + 7)
        await table.draw()
        await page.evaluate(settled)
        assert abs(await page.evaluate(f"{where}(80)") - before) < 2
    await page.evaluate("document.querySelector('.rxws-scroll').scrollTop = 0")
    await page.evaluate(settled)
    count(recording, 124, 140)
    await table.draw()
    assert await page.evaluate(BOTTOM)


async def test_rows_stay_unfolded(page: Page) -> None:
    """Unfolded rows and levels stay unfolded when the table is redrawn."""
    recording = blank()
    count(recording, 0, 30)
    nested = {"a": {"b": ["x" * 30, "y" * 30, "z" * 30], "c": {"d": 1}}}
    add(recording, "incoming", nested, 3)
    count(recording, 31, 34)
    table = TableOnPage(page, recording)
    await table.draw()
    row = "tr[data-n='31']"
    opened = f'[...document.querySelectorAll("{row} details")].map(fold => fold.open)'
    assert await page.evaluate(opened) == [False, False, False]
    top = f'document.querySelector("{row}").getBoundingClientRect().top'
    before = await page.evaluate(top)
    await table.mouse(f"{row} summary", "mousePressed")
    assert abs(await page.evaluate(top) - before) < 2
    await page.evaluate("new Promise((done) => requestAnimationFrame(done))")
    await table.draw()
    await table.mouse(f"{row} summary", "mouseReleased")
    assert await page.evaluate(opened) == [True, False, False]
    await page.evaluate(f'document.querySelector("{row} li summary").focus()')
    await table.key("Enter", 13)
    await page.evaluate(f'document.querySelector("{row} li summary").click()')
    await page.evaluate("new Promise((done) => requestAnimationFrame(done))")
    await table.draw()
    assert await page.evaluate(opened) == [True, True, False]
    await page.evaluate(f'document.querySelector("{row} summary").click()')
    await page.evaluate("new Promise((done) => requestAnimationFrame(done))")
    await table.draw()
    assert await page.evaluate(opened) == [False, True, False]


ATTACKS = [
    "</script><script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 2'>",
    '"><svg onload="window.hacked = 3">',
    "</style><script>window.hacked = 4</script>",
    "</details></td></tr></table></div><iframe srcdoc='<script>parent.hacked = 5</script>'>",
    "<!--", "-->", "]]>", "&lt;script&gt;", "%ID%", "${window.hacked = 6}", "`${hacked}`",
]  # fmt: skip


@pytest.mark.promise("shown")
async def test_markup_in_frames_is_not_executed(page: Page) -> None:
    """Markup in data, names, errors, reasons and the title is shown as text."""

    class Hostile:
        def __repr__(self) -> str:
            return ATTACKS[1] * 5

    for attack in ATTACKS:
        recording = blank(title=attack)
        values: list[Any] = [attack, attack * 30, f"{attack}\n{attack}", attack.encode() * 4]
        values += [{attack: attack, "deep": {attack: [attack * 3, {attack: attack * 3}]}}]
        values += [
            json.dumps({attack: [attack] * 9}),
            Hostile(),
            {Hostile(): Hostile()},
            [Hostile()],
        ]
        for value in values:
            add(recording, "incoming", value)
        error = DecodeError(attack, attack * 20)
        error.__cause__ = ValueError(attack)
        add(recording, "errors", error)
        add(recording, "outgoing", Close(4000, attack))
        add(recording, "closed", Close(4000, attack))
        table = TableOnPage(page, recording)
        await table.draw()
        await page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
        assert len(await table.numbers()) == len(values) + 3
        title = await page.evaluate("document.querySelector('.rxws-head b').textContent")
        assert title == attack
        assert await page.evaluate("document.querySelector('td.data').textContent") == attack
        found = "document.querySelectorAll('#host :is(img, svg, iframe)').length"
        assert await page.evaluate(found) == 0
        assert await page.evaluate("document.querySelectorAll('#host script').length") == 1
        assert await page.evaluate("typeof window.hacked") == "undefined"


async def test_the_table_works_without_scripts(page: Page) -> None:
    """Without scripts or styles the rows are shown and unfold, but there are no tools."""
    recording = blank()
    count(recording, 0, 100)
    html = table_html(Rows(recording, 200).content(), "one")
    await page.evaluate(f"document.querySelector('#host').innerHTML = {json.dumps(html)}")
    assert await page.evaluate("document.querySelector('input, button')") is None
    last = "document.querySelector('tr:last-child summary')"
    inside = f"{last}.getBoundingClientRect().bottom <= innerHeight"
    assert await page.evaluate(inside)
    await page.evaluate(f"{last}.click()")
    assert await page.evaluate("document.querySelector('tr:last-child details').open")
    await page.evaluate("document.querySelector('#host style').remove()")
    assert await page.evaluate("document.querySelector('#host').innerText.includes('\\t8 B\\t')")


async def test_the_same_table_twice_on_a_page(page: Page) -> None:
    """The same output twice on a page has its tools in both."""
    recording = blank()
    count(recording, 0, 3)
    html = table_html(Rows(recording, 200).content(), "one")
    await put(page, html + html)
    assert await page.evaluate("document.querySelectorAll('.rxws-tools').length") == 2


@pytest.mark.parametrize("width", [320, 400, 1200])
async def test_the_table_fits(page: Page, width: int) -> None:
    """Nothing overflows a narrow or wide window, folded or unfolded."""
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=700,
        deviceScaleFactor=1,
        mobile=False,
    )
    recording = blank("ws://a-long-name.of-a-machine.example:8765/with/a/long/path?and=query")
    count(recording, 0, 20)
    add(recording, "incoming", {"x" * 80: "y" * 500}, 4000)
    add(recording, "incoming", bytes(range(256)), 4000)
    add(recording, "closed", Close(4000, "z" * 120), 4000)
    table = TableOnPage(page, recording)
    await table.draw()
    await page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    for what in ("document.documentElement", "document.querySelector('.rxws-scroll')"):
        wide, room = await page.evaluate(f"[{what}.scrollWidth, {what}.clientWidth]")
        assert wide <= room
