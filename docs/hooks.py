"""What the site needs besides mkdocs' plugins: the notebooks, and nothing from other hosts."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
EXECUTED = TemporaryDirectory(prefix="rxws-notebooks-")  # removes itself at the end
AT_ONCE = 3

# Not links, which nothing loads: scripts, images, frames, style sheets, fonts, what CSS imports.
FOREIGN = re.compile(
    r"""<(?:script|img|iframe|source|object|embed)\b[^>]*\s(?:src|data)=["']?(?:https?:)?//[^>]*>"""
    r"""|<link\b(?=[^>]*rel=["']?(?:stylesheet|preload|preconnect))[^>]*href=["']?(?:https?:)?//[^>]*>"""
    r"""|@import\s+(?:url\()?["']?(?:https?:)?//[^;]*|url\(["']?(?:https?:)?//[^)]*\)"""
)
# mkdocs-jupyter has its formulas drawn by MathJax, from a host of MathJax's. Ours have none.
MATHJAX = re.compile(r"(?is)<script\b(?:(?!</script>).)*?mathjax.*?</script>\s*")


def notebooks() -> list[Path]:
    """The notebooks, in the order of their numbers."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the notebooks into the navigation, and rebuild when one changes."""
    for entry in config.nav or []:
        if "Notebooks" in entry:
            entry["Notebooks"] += [f"notebooks/{path.name}" for path in notebooks()]
    config.watch.append(str(ROOT / "notebooks"))
    return config


async def execute() -> None:
    """Execute the notebooks into a place of their own: they are committed without outputs.

    mkdocs-jupyter would execute them, too, one after the other; most of their time is waiting.

    Raises:
        nbclient.exceptions.CellExecutionError: From a cell, with its traceback.
    """
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(path: Path) -> None:
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=60,
            resources={"metadata": {"path": path.parent}},
            # Errors only: else each kernel warns that others can hear TCP, which is local here.
            extra_arguments=["--log-level=ERROR"],
        )
        async with turn:
            await client.async_execute()
        target = Path(EXECUTED.name, path.relative_to(ROOT))
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)

    await asyncio.gather(*map(one, notebooks()))


@event_priority(50)  # before mkdocs-jupyter, which then takes each notebook that it finds
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Show notebooks/, which is no part of docs/: people look for notebooks at the top."""
    asyncio.run(execute())
    for path in notebooks():
        uri = path.relative_to(ROOT).as_posix()
        files.append(File(uri, EXECUTED.name, config.site_dir, config.use_directory_urls))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let pictures in a notebook follow the palette: nothing says that they stand on white."""
    return re.sub(r' data-jp-theme-(?:light|name)="[^"]*"', "", html)


@event_priority(-50)  # after the plugins
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Keep what loads from another host out of a page.

    Raises:
        PluginError: There is something that is not known to be superfluous.
    """
    output = MATHJAX.sub("", output)
    if foreign := FOREIGN.search(output):
        raise PluginError(f"{page.file.src_uri} loads from another host: {foreign[0]}")
    return output
