"""Text and bytes for a line or a block of the table."""

from __future__ import annotations

import html

from rxws._recording.diagram.labels import with_codes

__all__ = ["LINE", "WHOLE", "cut_note", "escape", "hex_dump", "one_line", "printable", "text_block"]

LINE = 160  # characters of a row's line: about as many as fit on a wide screen
WHOLE = 10_000  # characters of an unfolded value
DUMPED = 1024  # bytes of a hex dump


def one_line(text: str, length: int = LINE) -> str:
    """Return text as one line without invisible characters, cut to this many characters."""
    start = with_codes(text[:length])
    return start if len(text) <= length else f"{start}…"


def text_block(text: str) -> str:
    """Return text with its line breaks as HTML, cut if it is very long."""
    note = cut_note(f"{WHOLE:,} of {len(text):,} characters") if len(text) > WHOLE else ""
    block = with_codes(text[:WHOLE], keep="\t\n")
    return f"<pre>{escape(block)}</pre>{note}"


def hex_dump(data: bytes) -> str:
    """Return bytes as HTML, 16 per line with their ASCII characters, cut if there are many."""
    dumped = data[:DUMPED]
    codes, characters = dumped.hex(" "), printable(dumped)
    lines = [
        f"{at:04x}  {codes[3 * at : 3 * at + 23]:<23}  {codes[3 * at + 24 : 3 * at + 47]:<23}  "
        f"{characters[at : at + 16]}"
        for at in range(0, len(dumped), 16)
    ]
    note = cut_note(f"{DUMPED:,} of {len(data):,} bytes") if len(data) > DUMPED else ""
    return f"<pre>{len(data):,} bytes\n{escape(chr(10).join(lines))}</pre>{note}"


def printable(data: bytes) -> str:
    """Return bytes as ASCII characters, with a dot for each byte that is not printable."""
    return data.decode("latin-1").translate(_DOTS)


_DOTS = {code: "·" for code in range(0x100) if not 0x20 <= code < 0x7F}


def cut_note(part: str) -> str:
    """Return the HTML note that only this part is shown."""
    return f"<p>cut: {part} are shown</p>"


def escape(text: str) -> str:
    """Escape text for the content of an HTML element; quotes need no escape there."""
    return html.escape(text, quote=False)
