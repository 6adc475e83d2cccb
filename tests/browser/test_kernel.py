"""Output and views in a real Jupyter kernel."""

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient

from support import ROOT
from support.peers.jupyter import kernel

OPEN = """
import asyncio, json, threading
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject
import rxws
from rxws import viz

def echo(conn):
    return conn.incoming

server = await rxws.serve(echo)
conn = await rxws.connect(server.url)
"""

CLOSE = """
conn.outgoing.on_next(rxws.Close(4001, "enough"))
print(await conn.closed)
await server.aclose()
"""


@pytest.mark.promise("cell")
async def test_callbacks_print_under_the_cell_that_subscribed() -> None:
    """Callbacks print under the cell that subscribed them.

    That holds for direct subscriptions, chains with a timer, callbacks that send within
    callbacks, and notifications after the end.
    """
    async with kernel() as front:
        connected = await front.run(OPEN)
        direct = await front.run("""
def answer(text):
    print("direct", text, flush=True)
    if text == "a":
        outgoing.on_next("b")
outgoing = conn.outgoing
conn.incoming.subscribe(answer)
""")
        chained = await front.run("""
calm = conn.incoming.pipe(ops.debounce(0.01), rxws.operators.on_loop())
calm.subscribe(lambda text: print("calm", text, flush=True))
nested = Subject()
conn.outgoing.subscribe(lambda text: text == "a" and conn.outgoing.on_next("c"))
""")
        ended = await front.run("""
class PrintClose(rx.Observer):
    def on_next(self, value):
        print("closed", value.code, flush=True)
    def on_completed(self):
        print("completed", flush=True)
conn.closed.subscribe(PrintClose())
""")
        sent = await front.run("""
conn.outgoing.on_next("a")
await calm.pipe(ops.take(1))
await asyncio.sleep(0)
print("sent")
""")
        await front.run(CLOSE)
        late = await front.run("conn.closed.subscribe(lambda c: print('late', c.code))")

    assert connected.error == sent.error == ""
    assert connected.text == ""
    assert direct.text.split("\n") == ["direct a", "direct c", "direct b", ""]
    assert chained.text == "calm b\n"
    assert ended.text == "closed 4001\ncompleted\n"
    assert sent.text == "sent\n"
    assert late.text == "late 4001\n"


@pytest.mark.promise("cell")
async def test_a_view_is_updated_under_its_cell() -> None:
    """A view is updated under its cell while other cells run, until its cell runs again.

    Its error is shown in the view and printed nowhere. A cell is recognized by its id or its text.
    """
    async with kernel() as front:
        await front.run(OPEN)
        watch_cell = """
conn.incoming.subscribe()
view = viz.watch(conn.incoming, ops.map(json.loads), ("inverse", ops.map(lambda n: 1 / n)))
whole = viz.watch(conn)
view
"""
        first = await front.run(watch_cell, cell_id="one")
        assert first.error == ""
        assert (first.displays, len(first.shown), first.result) == (2, 2, "")

        sending = await front.run("""
for n in (4, 0):
    conn.outgoing.on_next(str(n))
await view
""")
        assert sending.error == sending.text == ""
        shown = "\n".join(bundle["text/plain"] for bundle in first.shown.values())
        assert (
            "✗ ZeroDivisionError: division by zero\n  in inverse (1 / n), at the value 0" in shown
        )
        assert "Cell In[" in shown
        assert all(bundle["text/html"].startswith("<svg") for bundle in first.shown.values())

        elsewhere = await front.run("view")
        assert "ZeroDivisionError" in elsewhere.picture
        listed = await front.run("print(viz.views())")
        assert listed.text.count("<View") == 1

        edited = await front.run(watch_cell + "# edited", cell_id="one")
        assert edited.displays == 2
        again = await front.run(watch_cell + "# edited", cell_id="one")
        assert again.displays == 2
        listed = await front.run("print(whole in viz.views(), len(viz.views()))")
        assert listed.text == "True 2\n"

        text = await front.run("viz.watch(rx.never())")
        assert text.displays == 1
        text = await front.run("viz.watch(rx.never())")
        listed = await front.run("print(len(viz.views()))")
        assert listed.text == "3\n"

        left = await front.run("""
before = len(asyncio.all_tasks())
viz.stop_all()
viz.stop_all()
timers = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]
display_timers = [each for each in timers if "Display" in repr(each)]
print(viz.views(), display_timers, len(asyncio.all_tasks()) - before)
print(conn.incoming.subscriptions, conn.incoming._watchers, conn.errors._watchers)
""")
        assert left.text == "[] [] 0\n3 () ()\n"
        await front.run(CLOSE)


@pytest.mark.promise("runs-on")
async def test_interrupting_a_cell_that_awaits_a_view() -> None:
    """Interrupting a cell that awaits a view stops the view; the kernel keeps running."""
    async with kernel() as front:
        await front.run("from rxws import viz\nimport reactivex as rx\nsource = rx.Subject()")
        waiting = front.start("""
view = viz.watch(source)
print("waiting", flush=True)
await view
""")
        await waiting.printed.wait()
        await front.interrupt()
        await waiting.over.wait()
        state = await front.run("print(view.state, source.observers, viz.views())")
    assert waiting.error in ("CancelledError", "KeyboardInterrupt")
    assert state.text == "stopped [] []\n"


@pytest.mark.promise("runs-on")
async def test_interrupting_a_cell_that_streams_stops_the_stream() -> None:
    """Interrupting a notebook's cell that streams tokens stops the model and the view.

    The kernel keeps running, and no connection is left.
    """
    path = ROOT / "notebooks" / "3-time-and-back-pressure.ipynb"
    cells = {cell.id: cell.source for cell in nbformat.read(path, as_version=4).cells}
    timer, _, streams = cells["interrupt"].partition("\n")
    assert "SIGINT" in timer  # the stop button does it here
    async with kernel() as front:
        await front.run(cells["imports"])
        await front.run(cells["tokens"])
        streaming = front.start(streams)
        await streaming.printed.wait()
        await front.interrupt()
        await streaming.over.wait()
        stopped = await front.run(cells["stopped"])
        left = await front.run("""
tasks = [each for each in map(repr, asyncio.all_tasks()) if "rxws" in each or "aiohttp" in each]
print(tasks, viz.views(), view.state, (await conn.closed).by)
""")
    assert streaming.error == ""
    assert streaming.text.startswith("rain 0, ")
    assert streaming.text.endswith("interrupted\n")
    assert stopped.result.endswith("'rain']") or stopped.result == "['rain', 'snow']"
    assert left.text == "[] [] ended local\n"


@pytest.mark.promise("cell")
async def test_a_saved_notebook_ends_with_the_last_picture() -> None:
    """A notebook run without a front end is saved with the final picture of its views.

    Without a front end, later output of a finished cell is dropped; the cell that awaits the view
    updates the picture.
    """
    sources = [
        OPEN,
        "view = viz.watch(conn.incoming, ops.map(str.upper))\nconn.incoming.subscribe()",
        "for text in 'abc': conn.outgoing.on_next(text)\nawait conn.incoming.pipe(ops.take(3))",
        CLOSE,
        "await view",
        "view",
    ]
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    notebook = nbformat.v4.new_notebook(cells=cells)
    await NotebookClient(notebook, timeout=60).async_execute()
    [picture] = [out for out in cells[1].outputs if out.output_type == "display_data"]
    assert "3 ev" in picture["data"]["text/plain"]
    assert picture["data"]["text/plain"].count("┤") == 2
    [again] = cells[5].outputs
    assert again["data"] == picture["data"]
