"""Text and bytes of anybody's making, made fit for a line or a block of a page."""

from __future__ import annotations

import html

__all__ = ["LINE", "WHOLE", "cut_note", "escape", "hex_dump", "one_line", "printable", "shown"]
__all__ += ["text_block"]

LINE = 160  # characters of a row's line; a wide screen shows about as many
WHOLE = 10_000  # characters of what is unfolded
DUMPED = 1024  # bytes of a hex dump

# What would break a line, hide itself or turn the text around is shown as a sign or a code.
_SIGNS = {
    **{code: chr(0x2400 + code) for code in range(0x20)},
    0x0A: "↵",
    0x7F: "␡",
    **{code: f"\\x{code:02x}" for code in range(0x80, 0xA0)},
    **{
        code: f"\\u{code:04x}"
        for code in (0x61C, *range(0x200B, 0x2010), *range(0x2028, 0x202F), *range(0x2060, 0x2070))
        if code != 0x200D  # joins emoji
    },
    0xFEFF: "\\ufeff",
}
_BLOCK_SIGNS = {code: sign for code, sign in _SIGNS.items() if code not in (0x09, 0x0A)}


def one_line(text: str, length: int = LINE) -> str:
    """Return text in one line, cut behind so many characters, with nothing invisible in it."""
    start = _clean(text[:length], _SIGNS)
    return start if len(text) <= length else f"{start}…"


def text_block(text: str) -> str:
    """Return text with its lines as HTML, cut if it is very long."""
    note = cut_note(f"{WHOLE:,} of {len(text):,} characters") if len(text) > WHOLE else ""
    return f"<pre>{escape(_clean(text[:WHOLE], _BLOCK_SIGNS))}</pre>{note}"


def hex_dump(data: bytes) -> str:
    """Return bytes as HTML, sixteen a line with their characters, cut if there are very many."""
    shown_bytes = data[:DUMPED]
    codes, characters = shown_bytes.hex(" "), printable(shown_bytes)
    lines = [
        f"{at:04x}  {codes[3 * at : 3 * at + 23]:<23}  {codes[3 * at + 24 : 3 * at + 47]:<23}  "
        f"{characters[at : at + 16]}"
        for at in range(0, len(shown_bytes), 16)
    ]
    note = cut_note(f"{DUMPED:,} of {len(data):,} bytes") if len(data) > DUMPED else ""
    return f"<pre>{len(data):,} bytes\n{escape(chr(10).join(lines))}</pre>{note}"


def printable(data: bytes) -> str:
    """Return bytes as the ASCII characters that they are, or dots."""
    return data.decode("latin-1").translate(_DOTS)


_DOTS = {code: "·" for code in range(0x100) if not 0x20 <= code < 0x7F}


def cut_note(what: str) -> str:
    """Return what is to be said, as HTML, below something that was cut."""
    return f"<p>cut: {what} are shown</p>"


def shown(value: object) -> str:
    """Return the `repr` of a value, or what became of it."""
    try:
        return repr(value)
    except Exception as exc:  # a table is not lost for one value that cannot be shown
        return f"<{type(value).__name__}: its repr raised {type(exc).__name__}>"


def escape(text: str) -> str:
    """Return plain text for the content of an HTML element, where quotes need no escape."""
    return html.escape(text, quote=False)


def _clean(text: str, signs: dict[int, str]) -> str:
    if text.isprintable():
        return text
    # Half a surrogate pair can be sent nowhere, not even to a page.
    return text.translate(signs).encode("utf-8", "backslashreplace").decode()
