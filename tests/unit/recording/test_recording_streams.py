"""Files that grow with a recording, and recordings of clients that reconnect."""

from __future__ import annotations

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import reactivex as rx
from reactivex import operators as ops

from rxws import Close, ConnectionClosed, Recording
from rxws.testing import Clock
from support.virtual.session import VirtualSession
from support.virtual.subject import VirtualSubject

PARTS = (1, 2, 3)


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- streaming ------------------------------------------------------------------------------------


def test_each_event_is_in_the_file_at_once(tmp_path: Path) -> None:
    """After each message the file can be loaded, and has what the recording no longer keeps."""
    path = tmp_path / "s.jsonl"
    virtual = VirtualSession()
    recording = Recording.of(virtual.conn, keep=1)
    virtual.conn.incoming.subscribe()
    with recording.stream_to(path) as file:
        for count in range(1, 6):
            virtual.peer.message(f"m{count}")
            virtual.conn.outgoing.on_next(bytes([count]))
            virtual.run(1)
            loaded = Recording.load(path)
            assert len(loaded.lanes["incoming"]) == len(loaded.lanes["outgoing"]) == count
        assert file.size == path.stat().st_size
        virtual.peer.close(4001)
        virtual.run(1)
    assert len(recording.lanes["incoming"]) == 1
    loaded = Recording.load(path)
    assert loaded.title == recording.title
    assert [event.data for event in loaded.lanes["incoming"].events[:5]] == [
        "m1",
        "m2",
        "m3",
        "m4",
        "m5",
    ]
    assert loaded.lanes["closed"].events[0].data == Close(4001)
    assert loaded.lanes["incoming"].dropped == 0


def test_a_streamed_file_equals_a_saved_one(tmp_path: Path) -> None:
    """`stream_to` writes the events of before, and at its end the inner lanes and the steps."""
    recording = Recording(scheduler=Clock())
    numbers = rx.of(*PARTS).pipe(recording.tap("numbers"))
    numbers.run()
    with recording.stream_to(tmp_path / "a") as file:
        chain: rx.Observable[Any] = numbers.pipe(
            ops.group_by(lambda n: n % 2), recording.tap("groups")
        )
        chain.pipe(ops.merge_all()).run()
    recording.save(tmp_path / "b")
    one, two = Recording.load(tmp_path / "a"), Recording.load(tmp_path / "b")
    assert one.text() == two.text()
    assert one.events == two.events == recording.events
    file.dispose()  # again, without effect
    recording.lane("numbers").record("next", 9)
    assert Recording.load(tmp_path / "a").events == two.events


def test_a_recording_continues_in_its_file(tmp_path: Path) -> None:
    """With `append`, the times go on from the last event; a line that was cut off is removed."""
    path = tmp_path / "s.jsonl"
    for number in range(3):
        clock = Clock()
        recording = Recording(scheduler=clock, title=f"part {number}")
        lane = recording.lane("a")
        with recording.stream_to(path, append=True):
            clock.run(2)
            lane.record("next", number)
        with path.open("ab") as file:
            file.write(b'{"t": 9, "la')
    loaded = Recording.load(path)
    assert [(event.t, event.data) for event in loaded.events] == [(2, 0), (4, 1), (6, 2)]
    assert loaded.title == "part 2"


def test_a_last_line_without_a_line_feed_is_kept(tmp_path: Path) -> None:
    """A complete last line needs no line feed; what is appended begins on a line of its own."""
    path = tmp_path / "s.jsonl"
    path.write_text('{"t": 1, "lane": "a", "dir": null, "type": "text", "data": "x"}')
    recording = Recording(scheduler=Clock())
    with recording.stream_to(path, append=True):
        recording.lane("a").record("next", "y")
    assert [event.data for event in Recording.load(path).events] == ["x", "y"]


def test_another_file_is_not_continued(tmp_path: Path) -> None:
    """A file that is no recording stays as it is."""
    path = tmp_path / "notes.txt"
    path.write_text("buy milk\n")
    with pytest.raises(ValueError, match="line 1 is not a recorded event"):
        Recording().stream_to(path, append=True)
    assert path.read_text() == "buy milk\n"


class Full(io.BytesIO):
    """A file on a disk that becomes full."""

    def write(self, data: Any) -> int:
        if self.tell() > 200:
            raise OSError(28, "No space left on device")
        return super().write(bytes(data[:50]))  # as a raw file may do


@pytest.mark.parametrize("handled", [True, False])
def test_a_full_disk_ends_the_file_but_not_the_streams(
    handled: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """The error is reported once, the lines before are complete, and the stream goes on."""
    recording = Recording(scheduler=Clock())
    disk = Full()
    errors: list[OSError] = []
    file = recording.stream_to(disk, on_error=errors.append if handled else None)
    with caplog.at_level(logging.ERROR):
        assert rx.range(50).pipe(recording.tap("n")).run() == 49
    assert errors == [file.error] * handled
    assert len(caplog.records) == (not handled)
    assert file.size == len(disk.getvalue()) > 200
    assert [json.loads(line)["data"] for line in disk.getvalue().splitlines()[:3]] == [0, 1, 2]
    file.dispose()
    assert not disk.closed


def test_a_line_that_was_cut_off_is_skipped(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that a killed process left can be loaded; the log says what is missing."""
    path = tmp_path / "s.jsonl"
    recording = Recording(scheduler=Clock())
    recording.lane("a").record("next", "é")
    recording.lane("a").record("next", "b")
    recording.save(path)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first + 1, len(whole) - 1):
        caplog.clear()
        path.write_bytes(whole[:end])
        assert [event.data for event in Recording.load(path).events] == ["é"]
        assert caplog.messages == [f"{path}, line 2 is cut off, and is skipped"]


# --- several connections --------------------------------------------------------------------------


def reconnected() -> Recording:
    """Return a recording of two connections, the first of which was lost."""
    clock = Clock()
    recording = Recording(scheduler=clock)
    incoming, outgoing, closed = map(recording.lane, ("incoming", "outgoing", "closed"))
    for close in (Close(1006, "", "network"), Close(1000, "", "peer")):
        clock.run(1)
        incoming.record("next", f"before {close.code}")
        clock.run(1)
        if close.code == 1000:
            incoming.record("completed")
        else:
            incoming.record("error", ConnectionClosed(close))
        outgoing.record("completed")
        closed.record("next", close)
    return recording


def test_the_messages_of_all_connections_are_replayed() -> None:
    """A replay goes on after the loss of a connection, and ends as the last one did."""
    clock = Clock()
    seen: list[Any] = []
    reconnected().replay(scheduler=clock).subscribe(
        lambda value: seen.append((clock.time, value)), on_completed=lambda: seen.append("end")
    )
    clock.run(10)
    assert seen == [(1, "before 1006"), (3, "before 1000"), "end"]


def test_each_connection_is_drawn_with_its_own_close_code() -> None:
    """The lanes of both directions show the code of each connection where it ended."""
    drawn = reconnected().text(80)
    incoming, outgoing, *_ = drawn.splitlines()
    assert "✗" in incoming
    assert incoming.count("1000") == 2  # a message, and the end
    assert "✗" in outgoing
    assert outgoing.count("1000") == 1


# --- parts of a diagram ---------------------------------------------------------------------------


def taps() -> Recording:
    clock = Clock()
    recording = Recording(scheduler=clock, title="é")
    for name in ("first", "second"):
        recording.lane(name)
    for number in range(6):
        clock.run(1)
        recording.lane("first").record("next", number)
        recording.lane("second").record("next", f"ä{number}")
    return recording


def test_lanes_are_chosen_by_name() -> None:
    """Only the lanes with the names are drawn, with their inner lanes."""
    assert "first" not in taps().text(lanes=["second"])
    assert "second" not in taps().svg(lanes=["first"])
    recording = Recording(scheduler=Clock())
    chain: rx.Observable[Any] = rx.of(*PARTS).pipe(
        ops.group_by(lambda n: n % 2), recording.tap("groups")
    )
    chain.pipe(ops.merge_all(), recording.tap("merged")).run()
    assert len(recording.text(lanes=["groups"]).splitlines()) == 4
    for draw in (recording.text, recording.svg):
        with pytest.raises(KeyError, match="no lane 'x': the recording has"):
            draw(lanes=["x"])


def test_a_window_is_a_number_of_seconds_or_two_times() -> None:
    """The last seconds are drawn, or those between two times."""
    between = taps().text(80, (1.5, 4.5)).splitlines()[2]
    assert [n for n in range(6) if f"ä{n}" in between] == [1, 2, 3]
    latest = taps().text(80, 1.5).splitlines()[2]
    assert [n for n in range(6) if f"ä{n}" in latest] == [4]  # the last has no room
    assert "1.000 s" not in taps().svg(window=(1.5, 4.5))
    for window in ((2.0, 2.0), (3.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="must be two times in seconds, the earlier first"):
            taps().text(80, window)


def test_a_text_can_be_ascii() -> None:
    """In ASCII, each line has the same columns."""
    drawn, plain = taps().text(80), taps().text(80, ascii=True)
    assert plain.isascii()
    assert list(map(len, plain.splitlines())) == list(map(len, drawn.splitlines()))
    assert "?0" in plain


def test_a_client_is_recorded_over_all_its_connections(tmp_path: Path) -> None:
    """The recording has the states, and the first and last message of each connection."""
    client = VirtualSubject(opening=lambda _: ["hello"])
    recording = Recording.of(client.feed)
    file = recording.stream_to(tmp_path / "streamed")
    seen = client.subscribe()
    for number in (1, 2):
        client.run(1)
        client.dials[-1].peer.message(f"m{number}")
        client.dials[-1].peer.close(1012)
        client.run(2)
    assert seen.values == ["m1", "m2"]
    recording.save(tmp_path / "s")
    loaded = Recording.load(tmp_path / "s")
    data = {
        name: [event.data for event in lane.events if event.type in ("next", "close")]
        for name, lane in loaded.lanes.items()
    }
    assert data["incoming"] == ["m1", "m2"]
    assert data["outgoing"] == ["hello", "hello", "hello"]
    assert data["closed"] == [Close(1012), Close(1012)]
    assert [status.state for status in data["status"]][:4] == [
        "closed",
        "connecting",
        "open",
        "closed",
    ]
    assert loaded.text(80).splitlines()[1].startswith("status")
    recording.stop()
    client.run(10)
    file.dispose()
    assert Recording.load(tmp_path / "streamed").title == recording.title != ""
    assert [event.type for event in recording.lanes["status"].events][-1] == "disposed"


def test_a_text_has_the_width_of_a_terminal() -> None:
    """With `width`, the names and the time have that width together."""
    for width in (60, 100):
        assert max(map(len, taps().text(width=width).splitlines())) == width
    assert taps().text(width=1) == taps().text(24)


def test_added_events_are_bounded() -> None:
    """`add` drops and counts the oldest events of a lane, as recording does."""
    source = taps()
    recording = Recording(keep=2)
    for event in source.events:
        recording.add(event)
    assert [event.data for event in recording.lanes["first"].events] == [4, 5]
    assert recording.lanes["first"].dropped == 4
    assert recording.duration == source.duration == 6
    assert Recording().duration == 0
