"""Draws the reference pictures of tests/browser/pictures: `make pictures`.

Look at each of them before you commit it: the tests compare with these files.
"""

from __future__ import annotations

import asyncio
import base64
import math
import struct
import sys
import tempfile
import zlib
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.peers.browser import Page, chromium
from support.pictures.reference import FOLDER, drawn, shot
from support.pictures.scenes import SCENES

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
