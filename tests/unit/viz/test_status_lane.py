"""`watch` of a `WebSocketSubject`: the line of its states."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from reactivex import operators as ops

from rxws import Recording
from rxws._recording.diagram.statuses import RecordedStatus
from rxws.viz import View, stop_all, watch
from support.virtual.servers import fail_with, open_for
from support.virtual.subject import VirtualSubject

REFUSED = OSError("connection refused")


@pytest.fixture(autouse=True)
def nothing_runs_on() -> Iterator[None]:
    """Stop all views after each test."""
    yield
    stop_all()


def states(view: View | Recording) -> list[str]:
    """Return the recorded states."""
    recording = view.recording if isinstance(view, View) else view
    return [entry.data.state for entry in recording.lanes["status"].entries if entry.data]


def always(_: Exception) -> bool:
    return True


@pytest.mark.promise("watched")
def test_the_states_of_a_subject_have_a_line() -> None:
    """The first line shows all states in order; watching changes none of them."""
    client = VirtualSubject(fail_with(REFUSED), open_for(2, lost=True), retryable=always)
    view = watch(client.feed, ops.map(str.upper), scheduler=client.clock)
    assert states(view) == ["closed"]
    assert client.dials == []
    subscriber = client.subscribe()
    client.run(1.5)
    client.dials[1].peer.message("a")
    client.run(3)
    assert states(view) == [name.lower() for name in client.names]
    assert states(view)[:6] == ["closed", "connecting", "waiting", "connecting", "open", "closed"]
    assert [track.name for track in view.recording.picture().tracks] == [
        "status",
        "incoming",
        "map",
    ]
    subscriber.subscription.dispose()
    client.answer_close(client.dials[-1])
    assert states(view)[-1] == "closed"
    view.stop()
    client.check_nothing_left()


def test_a_wait_counts_down() -> None:
    """While the subject waits, the picture shows the seconds that are left, and changes."""
    client = VirtualSubject(fail_with(REFUSED), retryable=always)
    view = watch(client.feed, scheduler=client.clock)
    client.subscribe()
    seen: list[Any] = []
    for seconds in (0.0, 0.25, 0.5):
        client.run(seconds)
        seen.append(view._check())
        assert f"{1 - client.clock.time:.1f} s left" in view.svg()
    assert len(set(seen)) == 3
    assert "waiting" in view.text()
    view.stop()
    assert " s left" not in view.svg()
    assert " s left" not in view.text()


def test_a_subject_that_gives_up_ends_the_view() -> None:
    """When the subject fails, the last state is the failure."""
    client = VirtualSubject(fail_with(REFUSED), retryable=lambda _: False)
    view = watch(client.feed, scheduler=client.clock)
    client.subscribe()
    client.run()
    assert view.state == "failed"
    latest = view.recording.lanes["status"].entries[-2].data
    assert isinstance(latest, RecordedStatus)
    assert (latest.state, latest.failed) == ("closed", True)
    assert "s-failed" in view.svg()
    assert "connection refused" in view.svg()


def test_a_state_that_began_before_the_window_is_drawn() -> None:
    """A subject that has been open for long is open in the whole window."""
    client = VirtualSubject(open_for())
    view = watch(client.feed, scheduler=client.clock, window=1.0)
    client.subscribe()
    client.run(60)
    drawn = view.svg()
    assert drawn.count('<g class="s-open"><title>') == 1
    assert '<g class="s-closed"><title>' not in drawn
    assert ">Open<" in drawn


def test_a_file_keeps_the_states(tmp_path: Path) -> None:
    """A loaded recording draws the same states, and its file has no secrets."""
    client = VirtualSubject(fail_with(REFUSED), open_for(), retryable=always)
    view = watch(client.feed, scheduler=client.clock)
    client.subscribe()
    client.run(3)
    view.stop()
    view.recording.save(tmp_path / "feed.jsonl")
    loaded = Recording.load(tmp_path / "feed.jsonl")
    assert states(loaded) == states(view)
    assert loaded.svg() == view.recording.svg()
    assert [track.name for track in loaded.picture().tracks] == ["status", "incoming"]
    assert "headers" not in (tmp_path / "feed.jsonl").read_text()


@pytest.mark.parametrize(
    "data",
    [
        '{"state": "odd", "label": "", "text": "", "seconds": null, "failed": false}',
        '{"state": "open", "label": 1, "text": "", "seconds": null, "failed": false}',
        '{"state": "open", "label": "", "text": "", "seconds": "1", "failed": false}',
        '{"state": "open"}',
    ],
)
def test_a_state_of_a_file_is_checked(tmp_path: Path, data: str) -> None:
    """A line with a bad state is named."""
    file = tmp_path / "bad.jsonl"
    file.write_text(f'{{"t": 0, "lane": "status", "dir": null, "type": "status", "data": {data}}}')
    with pytest.raises(ValueError, match="line 1 is not a recorded event"):
        Recording.load(file)


def test_a_step_may_be_named_status() -> None:
    """The line of the states keeps its name; a step with this name gets another."""
    client = VirtualSubject(open_for())
    view = watch(client.feed, ("status", ops.map(str.upper)), scheduler=client.clock)
    assert set(view.recording.lanes) == {"status", "incoming", "status #2"}


@pytest.mark.promise("watched")
def test_the_states_are_bounded() -> None:
    """However often a subject reconnects, a bounded number of states is kept."""
    client = VirtualSubject(fail_with(REFUSED), retryable=always)
    view = watch(client.feed, scheduler=client.clock)
    client.subscribe()
    client.run(3000)
    assert len(view.recording.lanes["status"]) == 2000
    assert view.recording.lanes["status"].dropped > 2000
    assert view.svg()
