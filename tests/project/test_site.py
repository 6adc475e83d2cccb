"""What docs/hooks.py changes in the pages of the built site."""

from __future__ import annotations

import runpy
from html.parser import HTMLParser

import pytest

from support import ROOT

PAGE_HTML = runpy.run_path(str(ROOT / "docs/page_html.py"))
PICTURE = (ROOT / "docs/images/landing.svg").read_text("utf-8")


class IndexedText(HTMLParser):
    """Collects the text outside of elements with `data-search-exclude`, as mkdocs-material does."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text = ""
        self._open: list[tuple[str, bool]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open.append((tag, "data-search-exclude" in dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop()[0] == tag

    def handle_data(self, data: str) -> None:
        if not any(excluded for _, excluded in self._open):
            self.text += data


@pytest.mark.parametrize(
    "html",
    [
        PICTURE,
        '<clipboard-copy for="cell-1"><span>Copied!</span></clipboard-copy>',
        '<div class="clipboard-copy-txt" id="cell-1">import rxws</div>',
    ],
    ids=["picture", "copy button", "copied code"],
)
def test_the_search_index_has_no_labels_of_pictures(html: str) -> None:
    """Search finds the text around a picture or a copy button, and nothing within it."""
    page = f"<p>before</p> <div>{html}</div> <p>after</p>"
    assert len(IndexedText(page).text) > len("before  after")
    marked = PAGE_HTML["exclude_pictures_from_search"](page)
    assert IndexedText(marked).text.split() == ["before", "after"]


def test_notebooks_follow_the_palette_of_the_site() -> None:
    """The fixed theme of a notebook is removed."""
    html = '<div data-jp-theme-light="true" data-jp-theme-name="JupyterLab Light" class="x">'
    assert PAGE_HTML["follow_the_palette"](html) == '<div class="x">'


@pytest.mark.parametrize(
    "html",
    [
        '<script async src="https://example.com/a.js"></script>',
        '<img alt="" src=//example.com/a.png>',
        '<link rel="stylesheet" href="https://example.com/a.css">',
        '<style>@import "https://example.com/a.css";</style>',
        "<style>p { background: url(https://example.com/a.png) }</style>",
    ],
)
def test_a_page_that_loads_from_another_host_is_found(html: str) -> None:
    """Scripts, images and styles of other hosts are found; links to them may stay."""
    find = PAGE_HTML["loaded_from_another_host"]
    assert "example.com" in find(f"<p>{html}</p>")
    assert find('<a href="https://example.com">a link</a><img src="own.png">') is None


def test_mathjax_is_removed() -> None:
    """The script that loads MathJax is removed, and the script before it stays."""
    page = '<script>own()</script>\n<script>\nload("https://example.com/MathJax.js")</script>rest'
    assert PAGE_HTML["without_mathjax"](page) == "<script>own()</script>\nrest"
