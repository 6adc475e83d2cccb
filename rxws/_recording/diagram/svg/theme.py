"""The light and dark colours of diagrams and tables, as CSS variables of the class `rxws`."""

from __future__ import annotations

from typing import Final

__all__ = ["CSS", "LIGHT", "MONO", "SANS"]

SANS: Final = "system-ui,-apple-system,'Segoe UI','DejaVu Sans',Helvetica,Arial,sans-serif"
MONO: Final = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"

LIGHT: Final = {
    "fg": "#1f2937",
    "muted": "#6b7280",
    "line": "#9aa5b1",  # time lines
    "grid": "#eceff3",
    "edge": "#d5dae2",  # of boxes
    "box": "#f5f7fb",
    "bg": "transparent",
    "page": "#ffffff",  # the background of an SVG file
    "on": "#ffffff",  # text on marks
    "good": "#1f7f52",
    "bad": "#cf3b3b",
    "in": "#3b73c4",
    "out": "#2f9e6e",
    "1": "#d9861a",
    "2": "#8a6fc0",
    "3": "#2f9c9c",
    "4": "#b0578d",
    "5": "#8a8f2a",
    "6": "#5f7d95",
}
DARK: Final = {
    "fg": "#e5e9f0",
    "muted": "#98a2b3",
    "line": "#667085",
    "grid": "#2a2f3a",
    "edge": "#3a4150",
    "box": "#20252f",
    "bg": "transparent",
    "page": "#14171c",
    "on": "#101317",
    "good": "#4cc38a",
    "bad": "#ff6b6b",
    "in": "#6ea8f7",
    "out": "#4fc596",
    "1": "#f0a94a",
    "2": "#b49be8",
    "3": "#52c7c4",
    "4": "#e08bbd",
    "5": "#c3c65a",
    "6": "#9ab4c9",
}

# A page that sets its own theme overrides the system's preference.
_LIGHT_PAGES = ('[data-jp-theme-light="true"]', '[data-md-color-scheme="default"]', ".vscode-light")
_DARK_PAGES = ('[data-jp-theme-light="false"]', '[data-md-color-scheme="slate"]', ".vscode-dark")


def _rule(pages: tuple[str, ...], scheme: str, colours: dict[str, str]) -> str:
    where = ",".join(f"{page} .rxws" for page in pages) if pages else ".rxws"
    variables = ";".join(f"--rxws-{name}:{colour}" for name, colour in colours.items())
    return f"{where}{{color-scheme:{scheme};{variables}}}"


CSS: Final = "".join(
    [
        _rule((), "light", LIGHT),
        "@media (prefers-color-scheme:dark){",
        _rule((), "dark", DARK),
        "}",
        _rule(_LIGHT_PAGES, "light", LIGHT),
        _rule(_DARK_PAGES, "dark", DARK),
    ]
)
"""Include it once in each piece of HTML or SVG whose outermost element has the class `rxws`."""
