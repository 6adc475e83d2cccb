"""Hooks for mkdocs: add the executed notebooks, and reject content from other hosts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
import page_html
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
EXECUTED = TemporaryDirectory(prefix="rxws-notebooks-")  # removed at exit
CONCURRENT_NOTEBOOKS = 3


def notebooks() -> list[Path]:
    """Return the notebooks, sorted by number."""
    return sorted((ROOT / "notebooks").glob("*.ipynb"))


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the notebooks to the navigation, and rebuild the site when one changes."""
    for entry in config.nav or []:
        if "Notebooks" in entry:
            entry["Notebooks"] += [f"notebooks/{path.name}" for path in notebooks()]
    config.watch.append(str(ROOT / "notebooks"))
    return config


async def execute() -> None:
    """Execute the notebooks, and save them with their outputs in a temporary folder.

    They are committed without outputs. mkdocs-jupyter could execute them, but only one at a time.

    Raises:
        nbclient.exceptions.CellExecutionError: A cell fails. It holds the traceback.
    """
    slots = asyncio.Semaphore(CONCURRENT_NOTEBOOKS)

    async def one(path: Path) -> None:
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook,
            timeout=60,
            resources={"metadata": {"path": path.parent}},
            # Otherwise each kernel warns about its unencrypted TCP ports, which are local here.
            extra_arguments=["--log-level=ERROR"],
        )
        async with slots:
            await client.async_execute()
        target = Path(EXECUTED.name, path.relative_to(ROOT))
        target.parent.mkdir(exist_ok=True)
        nbformat.write(notebook, target)

    await asyncio.gather(*map(one, notebooks()))


@event_priority(50)  # before mkdocs-jupyter, which renders the notebooks that it finds
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add notebooks/ to the site, although it is outside docs/."""
    asyncio.run(execute())
    for path in notebooks():
        uri = path.relative_to(ROOT).as_posix()
        files.append(File(uri, EXECUTED.name, config.site_dir, config.use_directory_urls))
    return files


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt the notebooks to the site's palette, and keep pictures out of the search index."""
    return page_html.exclude_pictures_from_search(page_html.follow_the_palette(html))


@event_priority(-50)  # after the plugins
def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Check that a page loads nothing from another host; MathJax is removed.

    Raises:
        PluginError: The page loads something else from another host.
    """
    output = page_html.without_mathjax(output)
    if external := page_html.loaded_from_another_host(output):
        raise PluginError(f"{page.file.src_uri} loads from another host: {external}")
    return output
