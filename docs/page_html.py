"""Change the HTML of a page before mkdocs writes it: docs/hooks.py calls these functions."""

from __future__ import annotations

import re

# A browser loads these by itself: scripts, images, frames, style sheets, fonts, CSS imports.
EXTERNAL = re.compile(
    r"""<(?:script|img|iframe|source|object|embed)\b[^>]*\s(?:src|data)=["']?(?:https?:)?//[^>]*>"""
    r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect))[^>]*href=["']?(?:https?:)?//[^>]*>"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//[^;]*|url\(["']?(?:https?:)?//[^)]*\)"""
)
# mkdocs-jupyter loads MathJax from another host. Our notebooks have no formulas.
MATHJAX = re.compile(r"(?is)<script\b(?:(?!</script>).)*?mathjax.*?</script>\s*")
# The labels of a picture, and the two copies of a notebook's code that its copy button needs.
NOT_PROSE = re.compile(r'<(?:svg|clipboard-copy|div class="clipboard-copy-txt")(?=[\s>])')


def follow_the_palette(html: str) -> str:
    """Remove the fixed theme of notebooks, so that their pictures follow the site's palette."""
    return re.sub(r' data-jp-theme-(?:light|name)="[^"]*"', "", html)


def exclude_pictures_from_search(html: str) -> str:
    """Mark what is not prose with the attribute that the search of mkdocs-material skips."""
    return NOT_PROSE.sub(r"\g<0> data-search-exclude", html)


def without_mathjax(html: str) -> str:
    """Remove the scripts that load MathJax."""
    return MATHJAX.sub("", html)


def loaded_from_another_host(html: str) -> str | None:
    """Return the first tag or rule that loads something from another host, if any."""
    external = EXTERNAL.search(html)
    return external and external[0]
