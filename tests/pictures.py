"""The reference pictures of tests/pictures: drawn anew for a person to look at, and compared.

`make pictures` writes them anew. Look at each of them before it is committed: what lies there is
what the tests hold for right.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import re
import struct
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

from browser import Page, chromium
from scenes import SCENES, Scene

from rxws._recording.diagram import svg

FOLDER = Path(__file__).parent / "pictures"
PAGE = """<!doctype html><meta charset="utf-8">
<body data-jp-theme-light="%s" style="margin:0;background:%s">%s</body>"""
GRID = 8  # pixels of a side of the squares whose mean colours are compared
# The share of squares whose colour is another by more than a tenth. Fonts differ between machines.
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

PIXELS = """(async () => {
    const image = new Image();
    image.src = "data:image/png;base64,%s";
    await image.decode();
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.width, image.height];
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const pixels = context.getImageData(0, 0, image.width, image.height).data;
    let text = "";
    for (let i = 0; i < pixels.length; i += 32768)
        text += String.fromCharCode(...pixels.subarray(i, i + 32768));
    return [image.width, image.height, btoa(text)];
})()"""


def drawn(scene: Scene) -> str:
    """A scene as SVG."""
    return svg(scene.make(), scene.width, scene.window) + "\n"


async def shot(page: Page, scene: Scene, directory: Path, text: str = "") -> bytes:
    """A scene, or another text in its stead, as PNG, as a browser shows it."""
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


async def smaller(page: Page, png: bytes) -> bytes:
    """The same with 256 colours, the most frequent ones: less than half as large."""
    found = await page.evaluate(PIXELS % base64.b64encode(png).decode())
    width, height, pixels = found[0], found[1], base64.b64decode(found[2])
    colours = list(zip(pixels[::4], pixels[1::4], pixels[2::4], strict=True))
    counted = Counter(colours)
    palette = [colour for colour, _ in counted.most_common(256)]
    numbers = {
        colour: min(range(len(palette)), key=lambda number: math.dist(palette[number], colour))
        for colour in counted
    }
    rows = (colours[i : i + width] for i in range(0, width * height, width))
    lines = b"".join(b"\0" + bytes(map(numbers.__getitem__, row)) for row in rows)
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", bytes(part for colour in palette for part in colour)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


async def difference(page: Page, seen: bytes, expected: bytes) -> float:
    """The share of two pictures that is not alike, from 0 to 1."""
    both = json.dumps([base64.b64encode(each).decode() for each in (seen, expected)])
    share: float = await page.evaluate(COMPARE % (both, GRID, GRID, GRID, GRID))
    return share


async def main(names: list[str]) -> None:
    """Write the pictures anew, all or those that are named."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        async with chromium(Path(directory)) as page:
            for name, scene in SCENES.items():
                if names and name not in names:
                    continue
                png = await smaller(page, await shot(page, scene, Path(directory)))
                (FOLDER / f"{name}.svg").write_text(drawn(scene), encoding="utf-8")
                (FOLDER / f"{name}.png").write_bytes(png)
                print(f"{FOLDER / name}.png: {len(png) / 1e3:.1f} kB")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
