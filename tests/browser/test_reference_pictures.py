"""The scenes match the reference pictures, as text and as a browser renders them."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.peers.browser import Page
from support.pictures.reference import FOLDER, difference, drawn, shot
from support.pictures.scenes import SCENES

# The share of pixels that may differ. Liberation fonts instead of DejaVu make up to 0.019.
BOUND = 0.03


@pytest.mark.parametrize("name", SCENES)
def test_the_drawing_matches_the_reference(name: str) -> None:
    """Each scene is drawn as its SVG reference, byte for byte."""
    expected = (FOLDER / f"{name}.svg").read_text(encoding="utf-8")
    assert drawn(SCENES[name]) == expected, f"{name} has changed: run `make pictures`"


def test_every_scene_has_references() -> None:
    """Each scene has an SVG and a PNG of at most 40 kB, and no other file exists."""
    assert {path.name for path in FOLDER.iterdir()} == {
        f"{name}.{kind}" for name in SCENES for kind in ("png", "svg")
    }
    assert max(path.stat().st_size for path in FOLDER.glob("*.png")) <= 40_000


async def test_a_browser_shows_the_references(page: Page, tmp_path: Path) -> None:
    """A browser renders each scene as its PNG reference, except for fonts."""
    differences = {
        name: await difference(
            page, await shot(page, scene, tmp_path), (FOLDER / f"{name}.png").read_bytes()
        )
        for name, scene in SCENES.items()
    }
    assert {name: share for name, share in differences.items() if share > BOUND} == {}
    assert page.exceptions == []


async def test_the_comparison_detects_differences(page: Page, tmp_path: Path) -> None:
    """Other colours, times, sizes, events or displaced marks exceed the bound."""
    scene = SCENES["few"]
    reference = (FOLDER / "few.png").read_bytes()
    for other in (
        scene._replace(dark=True),
        scene._replace(window=0.3),
        scene._replace(width=700),
        SCENES["bursts"],
    ):
        assert await difference(page, await shot(page, other, tmp_path), reference) > BOUND
    for defect in ('visibility="hidden"', 'transform="translate(12 0)"'):
        changed = drawn(scene).replace('class="m"', f'class="m" {defect}')
        assert await difference(page, await shot(page, scene, tmp_path, changed), reference) > BOUND


async def test_an_svg_file_has_a_background(page: Page, tmp_path: Path) -> None:
    """An SVG file opened directly has a background."""
    file = tmp_path / "few.svg"
    file.write_text(drawn(SCENES["few"]), encoding="utf-8")
    await page.open(file.as_uri())
    for scheme, background in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(20, 23, 28)")):
        media = [{"name": "prefers-color-scheme", "value": scheme}]
        await page.call("Emulation.setEmulatedMedia", features=media)
        found = await page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        assert found == background


async def test_the_pages_theme_wins(page: Page, tmp_path: Path) -> None:
    """The theme of the page wins over the system's; a narrow page shrinks the picture."""
    file = tmp_path / "page.html"
    for attribute, dark in (
        ('data-jp-theme-light="true"', False),
        ('data-jp-theme-light="false"', True),
        ('data-md-color-scheme="default"', False),
        ('data-md-color-scheme="slate"', True),
        ('class="vscode-light"', False),
        ('class="vscode-dark"', True),
    ):
        file.write_text(
            f'<!doctype html><meta charset="utf-8"><body {attribute}>'
            f'<div style="width:300px">{drawn(SCENES["few"])}</div>',
            encoding="utf-8",
        )
        media = [{"name": "prefers-color-scheme", "value": "light" if dark else "dark"}]
        await page.call("Emulation.setEmulatedMedia", features=media)
        await page.open(file.as_uri())
        colour = await page.evaluate("getComputedStyle(document.querySelector('.ti')).fill")
        assert colour == ("rgb(229, 233, 240)" if dark else "rgb(31, 41, 55)"), attribute
    box = await page.evaluate("document.querySelector('svg').getBoundingClientRect().toJSON()")
    assert (box["width"], box["height"] < 150) == (300, True)
    look = "getComputedStyle(document.querySelector('svg')).backgroundColor"
    assert await page.evaluate(look) == "rgba(0, 0, 0, 0)"
