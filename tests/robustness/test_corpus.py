"""The corpus: each stored stream ends as the index says."""

from __future__ import annotations

import pytest

import rxws
from support.attack.corpus import FOLDER, entries
from support.attack.mutations import LIMIT, digest
from support.fixtures import Serve
from support.peers.endpoints import open_links


def test_the_index_matches_the_files() -> None:
    """The index lists exactly the files of the corpus."""
    assert sorted(path.stem for path in FOLDER.glob("*.bin")) == sorted(
        each.name for each in entries()
    )


@pytest.mark.promise("fire")
@pytest.mark.parametrize("end", ["server", "client"])
@pytest.mark.usefixtures("read_path")
async def test_each_stream_ends_as_indexed(end: str, serve: Serve) -> None:
    """Each recorded byte stream gives the messages and the close code that are listed for it."""
    wrong: list[object] = []
    async with open_links(end, serve) as link:
        for entry in entries():
            one = await link(max_message_size=LIMIT, deflate=entry.deflate)
            await one.peer.send(entry.data)
            one.peer.fin()
            close = await one.seen.end()
            await one.peer.until_ended()
            seen = (len(one.seen.values), digest(one.seen.values), close.code, close.by)
            if seen != (entry.messages, entry.digest, entry.code, entry.by):
                wrong.append((entry, seen))
            error = None if rxws.closing.is_clean(close) else rxws.ConnectionClosed
            if type(one.seen.error) is not (error or type(None)):
                wrong.append((entry, one.seen.error))
            answer = {"local": [close.code], "network": [], "peer": [close.code]}[close.by]
            if [each.code or 1005 for each in one.peer.closes] != answer:
                wrong.append((entry, one.peer.closes))
            await one.peer.rst()
    assert not wrong
