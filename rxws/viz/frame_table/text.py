"""Text and bytes for a line or a block of the table."""

from __future__ import annotations

import html

from rxws._recording.diagram.labels import with_codes

__all__ = ["MAX_BLOCK", "MAX_LINE", "cut_note", "escape", "hex_dump", "one_line", "printable"]
__all__ += ["text_block"]

MAX_LINE = 160  # characters of a row's line: about as many as fit on a wide screen
MAX_BLOCK = 10_000  # characters of an unfolded value
MAX_DUMP = 1024  # bytes of a hex dump


def one_line(text: str, length: int = MAX_LINE) -> str:
    """Return text as one line without invisible characters, cut to `length` characters."""
    start = with_codes(text[:length])
    return start if len(text) <= length else f"{start}…"


def text_block(text: str) -> str:
    """Return text with its line breaks as HTML, cut if it is very long."""
    note = cut_note(f"{MAX_BLOCK:,} of {len(text):,} characters") if len(text) > MAX_BLOCK else ""
    block = with_codes(text[:MAX_BLOCK], keep="\t\n")
    return f"<pre>{escape(block)}</pre>{note}"


def hex_dump(data: bytes) -> str:
    """Return bytes as HTML, 16 per line with their ASCII characters, cut if there are many."""
    dumped = data[:MAX_DUMP]
    codes, characters = dumped.hex(" "), printable(dumped)
    lines = [
        f"{at:04x}  {codes[3 * at : 3 * at + 23]:<23}  {codes[3 * at + 24 : 3 * at + 47]:<23}  "
        f"{characters[at : at + 16]}"
        for at in range(0, len(dumped), 16)
    ]
    note = cut_note(f"{MAX_DUMP:,} of {len(data):,} bytes") if len(data) > MAX_DUMP else ""
    return f"<pre>{len(data):,} bytes\n{escape(chr(10).join(lines))}</pre>{note}"


def printable(data: bytes) -> str:
    """Return bytes as ASCII characters, with a dot for each byte that is not printable."""
    return data.decode("latin-1").translate(_DOTS)


_DOTS = {code: "·" for code in range(0x100) if not 0x20 <= code < 0x7F}


def cut_note(part: str) -> str:
    """Return the HTML note that only a part is shown, such as `9 of 10 bytes`."""
    return f"<p>cut: {part} are shown</p>"


def escape(text: str) -> str:
    """Escape text for the content of an HTML element; quotes need no escape there."""
    return html.escape(text, quote=False)
