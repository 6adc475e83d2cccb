"""The frame table: its values, rows, limits, and its views."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient

from rxws import Close, ConnectionClosed, DecodeError, EncodeError, Recording, codecs
from rxws.viz import FramesView, frames, stop_all, views
from rxws.viz.frame_table.payload import payload
from rxws.viz.frame_table.rows import Rows
from rxws.viz.frame_table.table import table_html, table_text
from support.pictures.recordings import add, blank, count
from support.virtual.session import VirtualSession


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    yield
    stop_all()
    assert views() == []


class ParsedTable(HTMLParser):
    """The elements and texts of HTML; fails if they are not balanced."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.in_data = False
        self.tags: list[str] = []
        self.rows: list[str] = []  # the classes of each row
        self.texts: list[str] = []  # of each data cell
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr" and "data-n" in named:
            self.rows.append(named["class"] or "")
        if tag == "td":
            self.in_data = named["class"] == "data"
            self.texts += [""] * self.in_data

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "td" in self.open and self.in_data:
            self.texts[-1] += data


def drawn(recording: Recording, keep: int = 200) -> ParsedTable:
    return ParsedTable(table_html(Rows(recording, keep).content(), "t"))


class BrokenRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no")


class BrokenDict(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("no")


# --- one value ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind", "size", "line"),
    [
        ("hello", "text", "5 B", "hello"),
        ("", "text", "0 B", ""),
        ("é🎉", "text", "6 B", "é🎉"),
        ("a\nb\tc\r\x00\x7f\x85", "text", "10 B", "a↵b␉c␍␀␡\\x85"),
        ("\u202egnp\u2066", "text", "9 B", "\\u202egnp\\u2066"),
        ("\ud800", "text", "3 B", "\\ud800"),
        ('{"i": 1}', "json", "8 B", '{"i": 1}'),
        ("{}", "text", "2 B", "{}"),
        ("{nonsense", "json", "9 B", "{nonsense"),
        ("[" * 2000, "json", "2.0 kB", "[" * 160 + "…"),
        ("x" * 1234, "text", "1.2 kB", "x" * 160 + "…"),
        ("x" * 2_340_000, "text", "2.3 MB", "x" * 160 + "…"),
        (b"", "binary", "0 B", ""),
        (b"hello", "binary", "5 B", "68 65 6c 6c 6f  hello"),
        (bytearray(b"\x00\xff"), "binary", "2 B", "00 ff  ··"),
        (memoryview(b"a" * 20), "binary", "20 B", f"{'61 ' * 16}…  {'a' * 16}"),
        ({"a": [1, None, True]}, "json", "≈ 22 B", '{"a": [1, null, true]}'),
        ([], "json", "≈ 2 B", "[]"),
        ({"é": 1}, "json", "≈ 9 B", '{"é": 1}'),
        ((1, {2}), "json", "", "(1, {2})"),
        (1.5, "value", "≈ 3 B", "1.5"),
        (None, "value", "", "None"),
        (BrokenRepr(), "value", "", "<BrokenRepr: its repr raised RuntimeError>"),
        (BrokenDict(a=1), "value", "", "{'a': 1}"),
    ],
)
def test_a_value_has_a_kind_a_size_and_a_line(value: Any, kind: str, size: str, line: str) -> None:
    """A value has a kind, a size with its unit, and a line without invisible characters."""
    made = payload(value)
    assert (made.kind, made.size, made.line) == (kind, size, line)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("value", "frame", "size"),
    [
        ({"a": 1}, '{"a":1}', "7 B"),
        ({"a": 1}, b"\x81\xa1a\x01", "4 B"),
        ("é", '"é"', "4 B"),
        (object, "x" * 2000, "2.0 kB"),
        (list(range(6000)), None, "> 10.0 kB"),
        ([[1] * 100] * 100, None, "> 10.0 kB"),
        (list(range(4000)), None, "≈ 22.9 kB"),
        (nested(50), None, "≈ 101 B"),
        (nested(5000), None, ""),
    ],
)
def test_a_size_is_that_of_the_frame(value: Any, frame: str | bytes | None, size: str) -> None:
    """If the frame is known, its size is shown; a very large value is not measured."""
    assert payload(value, frame).size == size


def test_a_row_of_a_recording_has_the_size_of_its_frame() -> None:
    """The rows of a connection with a codec have the sizes of the frames."""
    virtual = VirtualSession(lambda conn: conn.incoming, codec=codecs.json)
    recording = Recording.of(virtual.conn)
    virtual.peer.message('{"a":    1}')
    virtual.run(1)
    assert [row.payload.size for row in Rows(recording, 9).content().rows] == ["11 B", "7 B"]


def test_only_long_values_unfold() -> None:
    """Long values and JSON unfold; short text and few bytes do not."""
    values: list[object] = ["hello", b"hello", 1, [], ""]
    assert [payload(value).whole for value in values] == [""] * 5
    assert payload("{nonsense").whole == "<pre>{nonsense</pre>"
    assert payload("a\nb").whole == "<pre>a\nb</pre>"
    assert "0010  10 11" in payload(bytes(range(32))).whole
    assert payload('{"a": "<"}').whole == "<ul><li><b>a</b>: <q>&lt;</q></li></ul>"
    assert payload([True, 2]).whole == (
        "<ul><li><b>0</b>: <i>true</i></li><li><b>1</b>: <i>2</i></li></ul>"
    )


def test_json_folds_level_by_level() -> None:
    """Short JSON is shown in its line; long JSON is folded below a summary."""
    value = {"short": [1, {"a": "b"}], "long": {"x": "y" * 80, "z": list(range(50))}}
    whole = payload(value).whole
    assert '<b>short</b>: [1, {a: "b"}]</li>' in whole
    assert f'<summary><b>long</b>: {{x: "{"y" * 23}…, z: […]}}</summary>' in whole
    assert "<summary><b>z</b>: [0, 1, 2, 3," in whole
    assert "…] (50)</summary>" in whole
    assert f"<q>{'y' * 80}</q>" in whole


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("x" * 10_001, "cut: 10,000 of 10,001 characters are shown"),
        (b"x" * 1025, "cut: 1,024 of 1,025 bytes are shown"),
        (list(range(100_000)), "cut: the first 10,000 characters are shown"),
        ({"x": "y" * 20_000}, "cut: the first 10,000 characters are shown"),
        ([["x" * 300] * 300] * 300, "cut: the first 10,000 characters are shown"),
    ],
    ids=["text", "binary", "list", "one item", "nested"],
)
def test_unfolded_values_are_cut(value: Any, said: str) -> None:
    """Unfolded values are cut, with a note on their size."""
    whole = payload(value).whole
    assert said in whole
    assert len(whole) < 60_000


def test_the_depth_is_limited() -> None:
    """Levels beyond the eighth are cut, also of a list that contains itself."""
    value: list[Any] = ["x" * 70]
    value.append(value)
    assert payload(value).whole.count("<details>") == 8
    assert payload(value).whole.count("[…]") == 9  # in each line, and in the innermost
    deep = "[" * 900 + "x" * 0 + "]" * 900
    assert payload(deep).kind == "json"


PARTS = ["div", "style", "span", "script", "table", "thead", "tbody", "tr", "th", "td"]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(st.lists(JSON | st.binary() | JSON.map(json.dumps), max_size=5))
def test_any_value_makes_well_formed_html(values: list[Any]) -> None:
    """Any value makes balanced HTML without elements of its own."""
    recording = blank()
    for value in values:
        add(recording, "incoming", value)
    table = drawn(recording)
    assert len(table.rows) == len(values)
    assert set(table.tags) <= {*PARTS, "details", "summary", "pre", "p", "ul", "li", "b", "q", "i"}
    assert table_html(Rows(recording, 9).content(), "t").encode()


# --- the rows of a connection ---------------------------------------------------------------------


def row_values(recording: Recording, keep: int = 200) -> list[tuple[float, str, str, bool]]:
    return [
        (row.t, row.kind, row.payload.line, row.is_error)
        for row in Rows(recording, keep).content().rows
    ]


def test_messages_and_the_close_are_rows() -> None:
    """Messages in both directions are rows in order; the close is the last row."""
    virtual = VirtualSession(
        lambda conn: conn.incoming.subscribe(lambda text: conn.outgoing.on_next(text * 2))
    )
    recording = Recording.of(virtual.conn)
    virtual.run(1)
    virtual.peer.message("a")
    virtual.run(0.5)
    virtual.peer.close(1000, "bye")
    virtual.run(1)
    assert row_values(recording) == [
        (1, "in", "a", False),
        (1, "out", "aa", False),
        (1.5, "end", "closed with 1000 (normal closure) “bye” by peer", False),
    ]
    made = Rows(recording, 200).content()
    assert (made.title, made.received, made.sent) == ("ws://peer.example/", 1, 1)
    table = drawn(recording)
    assert table.rows == ["in", "out", "end closing"]


def test_our_close_is_a_row() -> None:
    """A close that you send is a row, and so is the end of the connection."""
    virtual = VirtualSession(lambda conn: conn.incoming.subscribe())
    recording = Recording.of(virtual.conn)
    virtual.conn.outgoing.on_next("a")
    virtual.conn.outgoing.on_next(Close(4001, "why"))
    virtual.settle()
    virtual.peer.close(4001, "why")
    virtual.run(1)
    assert [row[1:] for row in row_values(recording)] == [
        ("out", "a", False),
        ("out", "close with 4001 “why”", False),
        ("end", "closed with 4001 “why” by local", False),
    ]
    assert Rows(recording, 200).content().sent == 1


def test_a_connection_that_failed_ends_in_red_with_the_cause() -> None:
    """A lost connection or an exception of the handler makes a red row with its cause."""
    virtual = VirtualSession(lambda conn: conn.incoming.subscribe())
    recording = Recording.of(virtual.conn)
    virtual.peer.lost()
    virtual.run(1)
    assert row_values(recording)[-1][2:] == ("closed with 1006 (abnormal closure) by network", True)

    virtual = VirtualSession(lambda conn: conn.incoming.subscribe())
    recording = Recording.of(virtual.conn)
    virtual.conn.outgoing.on_error(ZeroDivisionError("mine"))
    virtual.settle()
    virtual.peer.close(1011, "")
    virtual.run(1)
    line = "closed with 1011 (internal error) “Unexpected Error” by local, after ZeroDivisionError"
    assert row_values(recording)[-1][2:] == (f"{line}: mine", True)
    assert drawn(recording).rows[-1] == "end bad closing"


def test_errors_are_red_rows() -> None:
    """Messages that cannot be decoded or encoded are red rows with error and cause."""
    virtual = VirtualSession(codec=codecs.json)
    faults = virtual.watch(virtual.conn.errors)
    virtual.watch(virtual.conn.incoming)
    recording = Recording.of(virtual.conn)
    virtual.peer.message("{nonsense <b>")
    virtual.settle()
    virtual.conn.outgoing.on_next({1})
    virtual.settle()
    assert [type(fault) for fault in faults.values] == [DecodeError, EncodeError]
    table = drawn(recording)
    bad = [text for text, row in zip(table.texts, table.rows, strict=True) if "bad" in row]
    assert bad[0].startswith("DecodeError: cannot decode")
    assert "received:{nonsense <b>" in bad[0]
    assert "because of:JSONDecodeError: " in bad[0]
    assert bad[1].startswith("EncodeError: cannot encode {1}")
    assert "to be sent:{1}" in bad[1]


def test_an_error_whose_message_raises_is_shown() -> None:
    """An exception whose message raises has a row that says so."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    recording = blank()
    add(recording, "errors", BrokenError())
    assert row_values(recording)[0][2] == "BrokenError: <BrokenError: its str raised RuntimeError>"


@pytest.mark.promise("red")
def test_red_is_for_errors_only() -> None:
    """Only rows with an error have the class that makes them red."""
    recording = blank()
    count(recording, 0, 20)
    add(recording, "outgoing", Close(4000, "bad"))
    add(recording, "closed", Close(4000, "bad"))
    assert not any("bad" in row.split() for row in drawn(recording).rows)
    add(recording, "errors", KeyError("x"))
    assert [row for row in drawn(recording).rows if "bad" in row.split()] == ["error bad"]


def test_errors_that_only_end_a_stream_are_not_causes() -> None:
    """A pipeline that forwards the end of `incoming` to `outgoing` is not the cause."""
    recording = blank()
    error = ConnectionClosed(Close(4001, "why", by="peer"))
    for lane in ("incoming", "outgoing"):
        add(recording, lane, error, type="error")
    add(recording, "closed", error.close)
    assert [row[2:] for row in row_values(recording)] == [("closed with 4001 “why” by peer", True)]
    error.__cause__ = ValueError("fault")
    assert row_values(recording)[-1][2] == "closed with 4001 “why” by peer, after ValueError: fault"


def test_taps_have_no_rows() -> None:
    """The recording of taps has no rows, and a note says why."""
    recording = Recording()
    assert Rows(recording, 5).content().note == "no frames yet"
    recording.tap("map")
    recording.lane("map").record("next", 1)
    made = Rows(recording, 5).content()
    assert made.rows == ()
    assert made.note == "no frames: this is not the recording of a connection, it has only map"
    assert made.note in table_html(made, "t")
    assert made.note in table_text(made)


# --- bounds ---------------------------------------------------------------------------------------


def test_the_latest_rows_are_kept_and_the_others_counted() -> None:
    """The latest rows are kept; rows dropped by table or recording are counted."""
    recording = blank(keep=30)
    for i in range(100):
        recording.lanes["incoming"].record("next", f"{i}")
    made = Rows(recording, 20).content()
    assert [row.payload.line for row in made.rows] == [f"{i}" for i in range(80, 100)]
    assert (made.older, made.received) == (80, 100)
    assert "80 older left out" in table_html(made, "t")


def test_a_row_is_made_once() -> None:
    """Redrawing reuses the rows that are still shown."""
    recording = blank()
    count(recording, 0, 10)
    rows = Rows(recording, 5)
    first = rows.content().rows
    count(recording, 10, 12)
    second = rows.content().rows
    assert [row.number for row in second] == list(range(8, 13))
    assert all(old is new for old, new in zip(first[2:], second[:3], strict=True))


@pytest.mark.promise("bounded")
def test_a_table_is_bounded() -> None:
    """A table of 200 frames has less than 150 kB if they are short, and 250 kB if they are long."""
    recording = blank()
    for i in range(100):
        add(recording, "incoming", json.dumps({"i": i, "price": 99.5, "venue": "XETR"}), i)
        add(recording, "outgoing", f"a line of text that says that {i} was received", i)
    assert len(table_html(Rows(recording, 200).content(), "t").encode()) < 150_000
    recording = blank()
    for i in range(200):
        add(recording, "incoming", "x" * 20_000, i)
    html = table_html(Rows(recording, 200).content(), "t")
    assert len(html) < 250_000
    assert html.count("left out: the table is full") == 193


# --- text -----------------------------------------------------------------------------------------


def test_the_text_has_the_last_rows() -> None:
    """The text counts the rows that it leaves out, and its lines are cut."""
    recording = blank()
    count(recording, 0, 20)
    add(recording, "incoming", "x" * 200, 61.5)
    add(recording, "errors", ValueError("what"), 3723.004)
    add(recording, "closed", Close(1000, by="peer"), 3723.0046)
    text = table_text(Rows(recording, 15).content(), rows=5, cols=60)
    assert text.splitlines() == [
        "ws://peer.example/: ↓ 15 ↑ 6, 18 before these",
        '     1.800 ↓       9 B  {"i": 18}',
        '     1.900 ↓       9 B  {"i": 19}',
        f"  1:01.500 ↓     200 B  {'x' * 35}…",
        "1:02:03.004 ✕            ValueError: what",
        "1:02:03.005 ■            closed with 1000 (normal closure) …",
    ]


# --- frames() -------------------------------------------------------------------------------------


@pytest.mark.promise("watched")
def test_a_table_is_not_a_subscriber_and_ends_with_the_connection() -> None:
    """A table does not subscribe; it shows that messages wait, and ends with the connection."""
    virtual = VirtualSession()
    view = frames(virtual.conn)
    assert views() == [view]
    virtual.peer.message("a")
    virtual.run(5)
    assert virtual.session.incoming.waiting == 1
    assert "nobody is subscribed to incoming" in view.text()
    assert "nobody is subscribed to incoming" in view.html()
    assert view._repr_mimebundle_() == {"text/html": view.html(), "text/plain": view.text()}
    virtual.watch(virtual.conn.incoming)
    virtual.settle()
    assert "nobody" not in view.text()
    assert "     5.000 ↓       1 B  a" in view.text().splitlines()
    assert repr(view) == "<FramesView 'ws://peer.example/': in 1, out 0, running>"
    virtual.peer.close(1000, "")
    virtual.run(1)
    assert view.state == "ended"
    assert views() == []
    assert repr(view) == "<FramesView 'ws://peer.example/': in 1, out 0, ended 1000>"


def test_a_stopped_table_stays_as_it_is() -> None:
    """A stopped table records nothing more."""
    virtual = VirtualSession(lambda conn: conn.incoming.subscribe())
    view = frames(virtual.conn, title="mine")
    virtual.peer.message("a")
    virtual.settle()
    stop_all()
    view.stop()
    virtual.peer.message("b")
    virtual.settle()
    assert view.state == "stopped"
    assert view.text() == "mine: ↓ 1 ↑ 0\n     0.000 ↓       1 B  a"


async def test_a_recording_is_shown_and_awaited() -> None:
    """A growing recording is awaited until it ends; an ended one is shown at once."""
    recording = blank()
    count(recording, 0, 3)
    view = frames(recording, keep=2)
    assert views() == [view]
    for lane in ("incoming", "outgoing", "errors"):
        add(recording, lane, None, 1, "completed")
    add(recording, "closed", Close(), 1)
    add(recording, "closed", None, 1, "completed")
    await view
    assert view.state == "ended"
    over = frames(recording)
    assert isinstance(over, FramesView)
    assert over.state == "ended"
    await over
    assert over.text().splitlines()[-1].endswith("closed with 1000 (normal closure) by local")


async def test_a_wrong_argument_is_refused() -> None:
    """A wrong argument raises an error that names the value and a remedy."""
    virtual = VirtualSession()
    with pytest.raises(TypeError, match="not 3"):
        frames(3)  # type: ignore[arg-type] # the point
    with pytest.raises(TypeError, match="pass the connection itself"):
        frames(virtual.conn.incoming)  # type: ignore[arg-type] # the point
    with pytest.raises(ValueError, match="keep=0"):
        frames(virtual.conn, keep=0)
    with pytest.raises(ValueError, match="rate=0"):
        frames(virtual.conn, rate=0)
    assert views() == []


# --- in a notebook --------------------------------------------------------------------------------

CELLS = [
    """
    import asyncio
    import rxws
    import rxws.viz
    from rxws.testing import pair

    ours, theirs = pair()
    view = rxws.viz.frames(ours, rate=50)
    view
    """,
    """
    ours.incoming.subscribe(lambda text: ours.outgoing.on_next(text * 2))
    theirs.incoming.subscribe()
    theirs.outgoing.on_next("ping")
    theirs.outgoing.on_next(rxws.Close(1000, "enough"))
    await view
    """,
]


async def test_a_saved_notebook_has_the_final_table() -> None:
    """A saved notebook has the final table once, below the cell that made it."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(textwrap.dedent(cell).strip()) for cell in CELLS]
    )
    await NotebookClient(notebook, timeout=60).async_execute()
    [output] = notebook.cells[0].outputs
    assert sorted(output.data) == ["text/html", "text/plain"]
    table = ParsedTable(output.data["text/html"])
    assert table.texts == ["ping", "pingping", "closed with 1000 (normal closure) “enough” by peer"]
    assert output.data["text/plain"].splitlines()[-1].endswith(table.texts[-1])
    assert notebook.cells[1].outputs == []
