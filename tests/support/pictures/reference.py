"""Draw and compare the reference pictures of tests/browser/pictures."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

from rxws._recording.diagram import svg
from support import TESTS
from support.peers.browser import Page
from support.pictures.scenes import Scene

FOLDER = TESTS / "browser" / "pictures"
PAGE = """<!doctype html><meta charset="utf-8">
<body data-jp-theme-light="%s" style="margin:0;background:%s">%s</body>"""
GRID = 8  # pixels: the side of the squares whose mean colours are compared
# The share of squares whose colour differs by more than a tenth. Fonts differ between machines.
COMPARE = """(async () => {
    const squares = await Promise.all(%s.map(async (data) => {
        const image = new Image();
        image.src = "data:image/png;base64," + data;
        await image.decode();
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [image.width, image.height];
        const context = canvas.getContext("2d");
        context.drawImage(image, 0, 0);
        const pixels = context.getImageData(0, 0, image.width, image.height).data;
        const columns = Math.ceil(image.width / %d), rows = Math.ceil(image.height / %d);
        const sums = new Float64Array(columns * rows * 3);
        const counts = new Float64Array(columns * rows);
        for (let y = 0; y < image.height; y++)
            for (let x = 0; x < image.width; x++) {
                const square = Math.floor(y / %d) * columns + Math.floor(x / %d);
                counts[square]++;
                for (let c = 0; c < 3; c++)
                    sums[square * 3 + c] += pixels[(y * image.width + x) * 4 + c];
            }
        return {
            size: [image.width, image.height],
            colours: Array.from(sums, (sum, index) => sum / counts[Math.floor(index / 3)]),
        };
    }));
    const [seen, expected] = squares;
    if (String(seen.size) !== String(expected.size)) return 1;
    let others = 0;
    for (let i = 0; i < seen.colours.length; i += 3)
        others += [0, 1, 2].some(
            (c) => Math.abs(seen.colours[i + c] - expected.colours[i + c]) > 25.5);
    return others / (seen.colours.length / 3);
})()"""


def drawn(scene: Scene) -> str:
    """Return a scene as SVG."""
    return svg(scene.make(), scene.width, scene.window) + "\n"


async def shot(page: Page, scene: Scene, directory: Path, text: str = "") -> bytes:
    """Return a browser's screenshot of a scene, or of another SVG, as PNG."""
    file = directory / "scene.html"
    dark = ("false", "#111111") if scene.dark else ("true", "#ffffff")
    text = text or drawn(scene)
    file.write_text(PAGE % (*dark, text), encoding="utf-8")
    height = re.search(r' height="(\d+)', text)
    assert height is not None
    await page.call(
        "Emulation.setDeviceMetricsOverride",
        width=scene.width,
        height=int(height[1]),
        deviceScaleFactor=1,
        mobile=False,
    )
    await page.open(file.as_uri())
    answer = await page.call("Page.captureScreenshot", format="png")
    return base64.b64decode(answer["data"])


async def difference(page: Page, seen: bytes, expected: bytes) -> float:
    """Return the share of two pictures that differs, from 0 to 1."""
    both = json.dumps([base64.b64encode(each).decode() for each in (seen, expected)])
    share: float = await page.evaluate(COMPARE % (both, GRID, GRID, GRID, GRID))
    return share
