"""The style sheet of the site, docs/extra.css, in a headless Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from support import ROOT
from support.peers.browser import Page

IMAGES = ROOT / "docs/images"
TEXT = (ROOT / "LICENSE").read_text("utf-8")
LONGEST_LINE = """(() => {
    const text = document.querySelector("p").firstChild, range = document.createRange();
    const lengths = {};
    for (let i = 0; i < text.length; i++) {
        range.setStart(text, i);
        range.setEnd(text, i + 1);
        const y = Math.round(range.getBoundingClientRect().y);
        lengths[y] = (lengths[y] ?? 0) + 1;
    }
    return Math.max(...Object.values(lengths));
})()"""


async def open_page(page: Page, folder: Path, width: int) -> None:
    """Open a page with text and a picture, as mkdocs writes them."""
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=width,
        height=900,
        deviceScaleFactor=1,
        mobile=False,
    )
    source = folder / "page.html"
    source.write_text(
        f"""<!doctype html><meta charset="utf-8">
        <link rel="stylesheet" href="{(ROOT / "docs/extra.css").as_uri()}">
        <body class="md-typeset" style="font: 16px sans-serif"><p>{TEXT}</p>
        <p><img style="max-width: 100%" src="{(IMAGES / "flow.svg").as_uri()}"></p>
        <div class="picture">{(IMAGES / "layers.svg").read_text("utf-8")}</div>""",
        "utf-8",
    )
    await page.open(source.as_uri())


async def test_lines_of_text_are_not_too_wide(page: Page, tmp_path: Path) -> None:
    """On a wide screen, a line of text has about 90 characters."""
    await open_page(page, tmp_path, 1900)
    assert 75 <= await page.evaluate(LONGEST_LINE) <= 105


@pytest.mark.parametrize("what", ["img", ".picture > svg"])
async def test_pictures_scroll_on_a_phone(page: Page, tmp_path: Path, what: str) -> None:
    """On a phone, a wide picture keeps its size and scrolls; the page itself does not."""
    await open_page(page, tmp_path, 390)
    picture = f"document.querySelector({what!r})"
    assert await page.evaluate(f"{picture}.getBoundingClientRect().width") >= 500
    assert await page.evaluate(f"getComputedStyle({picture}.parentElement).overflowX") == "auto"
    assert await page.evaluate("document.documentElement.scrollWidth") <= 390
