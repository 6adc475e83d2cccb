"""`outgoing`: the Subject that sends messages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, NoReturn

import pytest
import reactivex as rx
from reactivex import operators as ops
from reactivex.subject import Subject

from rxws import BufferOverflow, Close, ConnectionClosed, EncodeError, codecs
from rxws.overflow import OVERHEAD, Overflow, latest
from support.virtual.session import VirtualSession


def in_thread(*pushes: Any) -> None:
    """Make these calls one after the other in a new thread."""

    def run() -> None:
        for push, *arguments in pushes:
            push(*arguments)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def raise_error(*_: object) -> NoReturn:
    raise ValueError("mine")


def test_messages_are_sent_at_once_and_in_order() -> None:
    """Messages are sent within `on_next`, in order."""
    virtual = VirtualSession(watch=True)
    for message in ("a", b"b", "c"):
        virtual.conn.outgoing.on_next(message)
    assert virtual.messages == ["a", b"b", "c"]


def test_outgoing_is_a_subject() -> None:
    """`outgoing` is a Subject: an Observable can feed it, and its completion closes."""
    virtual = VirtualSession(watch=True)
    assert isinstance(virtual.conn.outgoing, Subject)
    rx.of("a", "b").subscribe(virtual.conn.outgoing)
    assert virtual.messages == ["a", "b"]
    assert virtual.close_frame.code == 1000


def test_subscribers_get_sent_messages_and_the_end() -> None:
    """Subscribers of `outgoing` get the messages sent, the `Close`, and the end."""
    virtual = VirtualSession(watch=True)
    seen = virtual.watch(virtual.conn.outgoing)
    assert virtual.conn.outgoing.observers != []
    virtual.conn.outgoing.on_next("a")
    virtual.conn.outgoing.on_next(Close(4001))
    assert seen.values == ["a", Close(4001)]
    assert seen.ends == virtual.watch(virtual.conn.outgoing).ends == [None]
    assert virtual.conn.outgoing.observers == []

    other = VirtualSession(watch=True)
    seen = other.watch(other.conn.outgoing)
    other.peer.close(1000)
    assert seen.ends == [None]


def test_subscribers_get_the_error() -> None:
    """Subscribers of `outgoing` get the exception itself, which the peer never sees."""
    virtual = VirtualSession(watch=True)
    seen = virtual.watch(virtual.conn.outgoing)
    error = ConnectionClosed(Close(4003, "no"))
    virtual.conn.outgoing.on_error(error)
    assert seen.ends == virtual.watch(virtual.conn.outgoing).ends == [error]


def test_a_send_by_a_subscriber_follows_the_message_it_got() -> None:
    """A message sent by a subscriber of `outgoing` follows the one that it got."""
    virtual = VirtualSession(watch=True)
    answers: dict[Any, str] = {"1": "2", "2": "3"}
    virtual.conn.outgoing.subscribe(
        lambda value: virtual.conn.outgoing.on_next(answers[value]) if value in answers else None
    )
    virtual.conn.outgoing.on_next("1")
    assert virtual.messages == ["1", "2", "3"]


def test_a_long_chain_of_sends_does_not_recurse() -> None:
    """20,000 sends, each triggered by the one before, do not recurse."""
    virtual = VirtualSession(watch=True, max_buffer=1 << 30)

    def send_next(value: Any) -> None:
        if value != "0":
            virtual.conn.outgoing.on_next(str(int(value) - 1))

    virtual.conn.outgoing.subscribe(send_next)
    virtual.conn.outgoing.on_next("20000")
    assert virtual.messages == [str(number) for number in range(20_000, -1, -1)]


def test_sends_and_immediate_answers_do_not_recurse() -> None:
    """10,000 sends, each triggered by an immediate answer, do not recurse."""
    virtual = VirtualSession(watch=True)
    virtual.conn.incoming.pipe(ops.take_while(lambda value: value != "done")).subscribe(
        lambda value: virtual.conn.outgoing.on_next(str(int(value) + 1))
    )
    virtual.conn.outgoing.subscribe(
        lambda value: virtual.session.on_message("done" if value == "10000" else str(value), 5)
    )
    virtual.peer.message("0")
    assert virtual.messages == [str(n) for n in range(1, 10_001)]


def test_answers_are_sent_in_the_order_of_the_messages() -> None:
    """Several subscribers' answers are sent in the order of the messages."""
    virtual = VirtualSession(watch=True)
    for name in "xy":
        virtual.conn.incoming.pipe(ops.map(name.__add__)).subscribe(virtual.conn.outgoing.on_next)
    virtual.peer.message("1", "2")
    assert virtual.messages == ["x1", "y1", "x2", "y2"]


def test_a_subscriber_that_raises_is_a_fault_and_the_message_is_sent() -> None:
    """If a subscriber of `outgoing` raises, it is a fault, and the message is sent."""
    virtual = VirtualSession(watch=True)
    errors = virtual.watch(virtual.conn.errors)
    virtual.conn.outgoing.subscribe(raise_error)
    seen = virtual.watch(virtual.conn.outgoing)
    virtual.conn.outgoing.on_next("a")
    assert (seen.values, virtual.messages) == (["a"], ["a"])
    assert [type(error) for error in errors.values] == [ValueError]


@pytest.mark.parametrize("code", [1004, 1005, 1006, 1015, 1016, 2999])
def test_an_unsendable_close_raises_in_the_caller(code: int) -> None:
    """A `Close` with a code that must not be sent raises in the caller; nothing is closed."""
    virtual = VirtualSession(watch=True)
    with pytest.raises(ValueError, match=f"close code {code} must not be sent"):
        virtual.conn.outgoing.on_next(Close(code))
    refused: list[ValueError] = []

    def push() -> None:
        try:
            virtual.conn.outgoing.on_next(Close(code))
        except ValueError as error:
            refused.append(error)

    in_thread((push,))
    virtual.settle()
    assert len(refused) == 1
    virtual.conn.outgoing.on_next("still open")
    assert virtual.messages == ["still open"]


def test_an_unsendable_close_of_a_pipeline_is_a_fault_on_the_sessions_thread() -> None:
    """If a thread emits such a `Close` in a pipeline, `errors` gets it on the session's thread."""
    source: Subject[Close] = Subject()
    virtual = VirtualSession(lambda _: source)
    seen: list[tuple[int, Exception]] = []
    virtual.conn.errors.subscribe(lambda error: seen.append((threading.get_ident(), error)))
    in_thread((source.on_next, Close(1006)))
    assert seen == []
    virtual.settle()
    [(thread, error)] = seen
    assert thread == threading.get_ident()
    assert str(error).startswith("close code 1006 must not be sent")
    virtual.conn.outgoing.on_next("still open")
    assert virtual.messages == ["still open"]


@pytest.mark.parametrize(
    "end",
    [
        lambda outgoing: outgoing.on_completed(),
        lambda outgoing: outgoing.dispose(),
        lambda outgoing: outgoing.on_next(Close(1000)),
        lambda outgoing: outgoing.on_error(ConnectionClosed(Close(1000))),
    ],
    ids=["completed", "disposed", "Close", "error"],
)
def test_messages_after_the_end_are_dropped_and_counted(end: Any) -> None:
    """After the end of `outgoing` messages are dropped and counted; a second end has no effect."""
    virtual = VirtualSession(watch=True)
    seen = virtual.watch(virtual.conn.outgoing)
    end(virtual.conn.outgoing)
    virtual.conn.outgoing.on_next("late")
    virtual.conn.outgoing.on_next(Close(4001))
    virtual.conn.outgoing.on_completed()
    virtual.conn.outgoing.on_error(ConnectionClosed(Close(4002)))
    in_thread((virtual.conn.outgoing.on_next, "later"))
    virtual.settle()
    assert virtual.messages == []
    assert virtual.close_frame.code == 1000
    assert virtual.dropped == {"closed": 2}
    assert "late" not in seen.values
    assert not virtual.conn.outgoing.is_disposed


def test_a_message_from_within_the_end_notification_is_dropped() -> None:
    """A message sent from within the end notification is dropped."""
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.subscribe(on_completed=lambda: virtual.conn.outgoing.on_next("late"))
    virtual.conn.outgoing.on_completed()
    assert virtual.messages == []
    assert virtual.dropped == {"closed": 1}


def test_an_error_from_within_the_end_notification_changes_no_code() -> None:
    """An error from within the end notification does not change the close code."""
    virtual = VirtualSession(watch=True)
    virtual.conn.outgoing.subscribe(
        on_completed=lambda: virtual.conn.outgoing.on_error(ConnectionClosed(Close(4002)))
    )
    virtual.conn.outgoing.on_next(Close(4001))
    assert virtual.close_frame.code == 4001


def test_subscribers_do_not_get_messages_flushed_after_the_end() -> None:
    """Subscribers of `outgoing` do not get a message that is flushed after the end."""
    virtual = VirtualSession(lambda conn: conn.incoming.pipe(ops.debounce(1.0)))
    seen = virtual.watch(virtual.conn.outgoing)
    virtual.peer.message("flushed")
    virtual.peer.close(1000)
    assert virtual.dropped == {"closed": 1}
    assert seen.values == []


def test_a_value_that_cannot_be_encoded_is_a_fault_and_the_stream_goes_on() -> None:
    """A value that cannot be encoded is a fault; other messages are sent."""
    virtual = VirtualSession(watch=True, codec=codecs.json)
    errors = virtual.watch(virtual.conn.errors)
    value = object()
    for each in (1, value, 2):
        virtual.conn.outgoing.on_next(each)
    [error] = errors.values
    assert isinstance(error, EncodeError)
    assert error.value is value
    assert virtual.messages == ["1", "2"]


def test_messages_from_another_thread_are_sent_in_order_on_the_sessions_thread() -> None:
    """Messages and the end from another thread are processed in order on the session's thread."""
    virtual = VirtualSession(watch=True)
    threads: list[int] = []
    virtual.conn.outgoing.subscribe(lambda _: threads.append(threading.get_ident()))
    push = virtual.conn.outgoing.on_next
    in_thread((push, "a"), (push, b"b"), (push, "c"), (virtual.conn.outgoing.on_completed,))
    assert virtual.messages == [], "nothing happens on the other thread"
    virtual.settle()
    assert virtual.messages == ["a", b"b", "c"]
    assert virtual.close_frame.code == 1000
    assert set(threads) == {threading.get_ident()}


def test_an_error_from_another_thread_ends_the_connection() -> None:
    """An error from another thread closes with its code."""
    virtual = VirtualSession(watch=True)
    in_thread((virtual.conn.outgoing.on_error, ConnectionClosed(Close(4003, "no"))))
    virtual.settle()
    assert virtual.close_frame.code == 4003


@pytest.mark.promise("counted")
def test_messages_from_a_thread_are_counted_after_a_base_exception() -> None:
    """If a subscriber raises a `BaseException`, unsent messages of threads count as dropped."""
    virtual = VirtualSession(max_buffer=1024, overflow="drop_newest")

    def interrupt(_: object) -> NoReturn:
        raise KeyboardInterrupt

    virtual.conn.outgoing.subscribe(interrupt)
    in_thread(*[(virtual.conn.outgoing.on_next, "x" * 128)] * 6)
    with pytest.raises(KeyboardInterrupt):
        virtual.settle()
    assert virtual.stats.sent_messages == 1
    assert virtual.dropped == {"closed": 3, "overflow": 2}


def test_messages_from_threads_are_bounded() -> None:
    """Messages from threads count towards `max_buffer` with 128 bytes more each: else 1013."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    push = virtual.conn.outgoing.on_next
    in_thread(*[(push, "x" * 128)] * 6)
    virtual.settle()
    virtual.check_over(Close(1013, "Try Again Later"), BufferOverflow)
    assert virtual.stats.sent_messages == 4
    assert virtual.dropped == {"overflow": 2}


@pytest.mark.promise("pushed")
@pytest.mark.parametrize("kind", ["bytearray", "memoryview", "dict", "list"])
def test_changes_after_a_push_from_a_thread_do_not_matter(kind: str) -> None:
    """A value that a thread pushes and then changes is sent as it was when pushed."""
    virtual = VirtualSession(
        watch=True, codec=codecs.json if kind in ("dict", "list") else codecs.raw
    )
    payload = bytearray(b"0")
    value: Any = {
        "bytearray": payload,
        "memoryview": memoryview(payload),
        "dict": {"n": 0},
        "list": [0],
    }[kind]

    def push_and_change() -> None:
        for number in range(4):
            if kind == "dict":
                value["n"] = number
            else:
                value[0] = number if kind == "list" else ord(f"{number}")
            virtual.conn.outgoing.on_next(value)

    emitted = virtual.watch(virtual.conn.outgoing)
    in_thread((push_and_change,))
    virtual.run(0)
    assert (
        virtual.messages
        == {
            "bytearray": [b"0", b"1", b"2", b"3"],
            "memoryview": [b"0", b"1", b"2", b"3"],
            "dict": ['{"n":0}', '{"n":1}', '{"n":2}', '{"n":3}'],
            "list": ["[0]", "[1]", "[2]", "[3]"],
        }[kind]
    )
    assert len(emitted.values) == 4


@pytest.mark.parametrize(
    "make",
    [
        lambda: bytearray(1 << 20),
        lambda: memoryview(bytes(1 << 20)),
        lambda: memoryview(bytes(1 << 20)).cast("Q"),
        lambda: "\u00e9" * (1 << 19),
        lambda: ["x" * (1 << 20)],
    ],
    ids=["bytearray", "memoryview", "memoryview of integers", "non-ASCII text", "JSON"],
)
def test_messages_of_every_type_count_with_their_size(make: Callable[[], Any]) -> None:
    """Messages that threads push count with the size of their payload, whatever their type."""
    codec: Any = codecs.json if isinstance(make(), list) else codecs.raw
    virtual = VirtualSession(
        watch=True, codec=codec, max_buffer=(1 << 20) + 1024, overflow="drop_newest"
    )
    in_thread(*[(virtual.conn.outgoing.on_next, make()) for _ in range(64)])
    virtual.run(0)
    assert len(virtual.messages) == 1
    assert virtual.dropped == {"overflow": 63}


def test_with_latest_the_key_of_a_pushed_value_counts() -> None:
    """The key of a value that a thread pushes is that of the moment when it was pushed."""
    virtual = VirtualSession(
        watch=True, codec=codecs.json, overflow=latest(lambda value: value["key"])
    )
    virtual.peer.stop()
    virtual.conn.outgoing.on_next({"key": "wire"})
    value = {"key": "a"}

    def push_and_change() -> None:
        for key in "aba":
            value["key"] = key
            virtual.conn.outgoing.on_next(value)

    in_thread((push_and_change,))
    virtual.run(0)
    assert virtual.queued == 2
    assert virtual.dropped == {"conflated": 1}


def test_a_value_from_a_thread_that_cannot_be_encoded_is_a_fault() -> None:
    """A value from a thread that cannot be encoded is a fault; after the end it is counted."""
    virtual = VirtualSession(watch=True)
    faults = virtual.watch(virtual.conn.errors)
    in_thread((virtual.conn.outgoing.on_next, object()), (virtual.conn.outgoing.on_next, "a"))
    virtual.run(0)
    assert [type(fault) for fault in faults.values] == [EncodeError]
    assert virtual.messages == ["a"]
    virtual.conn.outgoing.on_completed()
    in_thread((virtual.conn.outgoing.on_next, object()))
    virtual.run(0)
    assert virtual.dropped == {"closed": 1}


def test_a_key_that_cannot_be_compared_is_a_fault_also_from_a_thread() -> None:
    """A key that cannot be compared with the others is a fault, also from a thread."""

    class Key:
        def __init__(self, value: object) -> None:
            pass

        def __hash__(self) -> int:
            return 1

        def __eq__(self, _: object) -> NoReturn:
            raise ValueError("mine")

    virtual = VirtualSession(watch=True, codec=codecs.json, overflow=latest(Key))
    virtual.peer.stop()
    faults = virtual.watch(virtual.conn.errors)
    in_thread(*[(virtual.conn.outgoing.on_next, [number]) for number in range(3)])
    virtual.run(0)
    assert [type(fault) for fault in faults.values] == [EncodeError]


def test_the_end_from_a_thread_is_not_bounded() -> None:
    """The completion from a thread is accepted even if the buffer is full."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    push = virtual.conn.outgoing.on_next
    in_thread(*[(push, "x" * 128)] * 4, (virtual.conn.outgoing.on_completed,))
    virtual.settle()
    assert len(virtual.messages) == 4
    assert virtual.close_frame.code == 1000


def test_a_single_message_from_a_thread_may_exceed_max_buffer() -> None:
    """A message of any size from a thread is sent if nothing is buffered."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    in_thread((virtual.conn.outgoing.on_next, "x" * 2000))
    virtual.settle()
    assert virtual.messages == ["x" * 2000]


def test_an_overflow_by_threads_after_the_end_is_only_counted() -> None:
    """An overflow by threads does not change the close code of an earlier end."""
    virtual = VirtualSession(watch=True, max_buffer=1024)
    in_thread(*[(virtual.conn.outgoing.on_next, "x" * 128)] * 6)
    virtual.conn.outgoing.on_completed()
    virtual.settle()
    assert virtual.close_frame.code == 1000
    assert virtual.dropped == {"closed": 4, "overflow": 2}


# --- the overflow policies and messages from threads ------------------------------------------


FIT = 10
ROOM = FIT * (OVERHEAD + 2)
MANY = [f"{number:02}" for number in range(50)]
DROPPING: list[Overflow] = ["drop_oldest", "drop_newest", latest(), latest(hash)]


def policy_id(policy: Overflow) -> str:
    """The id of a policy in a parametrized test."""
    if isinstance(policy, str):
        return policy
    return "latest()" if policy.key is None else "latest(key)"


def run_in_thread(push: Callable[[], object]) -> None:
    """Call it in a new thread, and join that."""
    thread = threading.Thread(target=push)
    thread.start()
    thread.join()


def overfilled(policy: Overflow, *ends: Callable[[Any], object]) -> VirtualSession:
    """A connection to which a thread sent more than fits, and then these ends."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)

    def push() -> None:
        for message in MANY:
            virtual.conn.outgoing.on_next(message)
        for end in ends:
            end(virtual.conn.outgoing)

    run_in_thread(push)
    virtual.settle()
    return virtual


def test_with_close_an_overflow_closes_with_1013() -> None:
    """With "close", an overflow by a thread closes with 1013, and the rest is counted."""
    virtual = overfilled("close")
    assert virtual.close_frame.code == 1013
    virtual.check_over(Close(1013, "Try Again Later"), BufferOverflow)
    assert virtual.messages == MANY[:FIT]
    assert virtual.dropped == {"overflow": len(MANY) - FIT}


def test_with_drop_newest_the_first_messages_are_sent() -> None:
    """With "drop_newest", the first messages that fit are sent."""
    virtual = overfilled("drop_newest")
    assert virtual.messages == MANY[:FIT]
    assert virtual.dropped == {"overflow": len(MANY) - FIT}
    assert virtual.closed.values == []


def test_with_drop_oldest_the_last_messages_are_sent() -> None:
    """With "drop_oldest", the last messages that fit are sent."""
    virtual = overfilled("drop_oldest")
    assert virtual.messages == MANY[-FIT:]
    assert virtual.dropped == {"overflow": len(MANY) - FIT}


@pytest.mark.parametrize("policy", [latest(), latest(lambda value: value[1])], ids=policy_id)
def test_with_latest_the_newest_message_is_sent(policy: Overflow) -> None:
    """With `latest`, the newest message is sent last."""
    assert overfilled(policy).messages[-1] == MANY[-1]


@pytest.mark.parametrize("policy", DROPPING, ids=policy_id)
def test_every_message_is_accounted_for(policy: Overflow) -> None:
    """Every message from a thread is sent in order or counted as dropped."""
    virtual = overfilled(policy)
    assert virtual.stats.sent_messages + sum(virtual.dropped.values()) == len(MANY)
    assert virtual.messages == sorted(set(virtual.messages))
    assert virtual.closed.values == []


@pytest.mark.parametrize("policy", DROPPING, ids=policy_id)
def test_a_completion_is_never_dropped(policy: Overflow) -> None:
    """A completion or an error from a thread is never dropped."""
    virtual = overfilled(policy, lambda outgoing: outgoing.on_completed())
    assert virtual.close_frame.code == 1000
    virtual = overfilled(policy, lambda outgoing: outgoing.on_error(ValueError("mine")))
    assert virtual.close_frame.code == 1011


@pytest.mark.parametrize("policy", DROPPING, ids=policy_id)
def test_a_close_from_a_thread_is_never_dropped(policy: Overflow) -> None:
    """A `Close` from a thread is never dropped."""
    virtual = overfilled(policy, lambda outgoing: outgoing.on_next(Close(4001)))
    assert virtual.close_frame.code == 4001


@pytest.mark.parametrize("policy", ["drop_oldest", latest(hash)], ids=policy_id)
@pytest.mark.parametrize("code", [1000, 4001])
def test_messages_after_an_end_drop_none_before_it(policy: Overflow, code: int) -> None:
    """Messages that follow an end are dropped; they do not displace earlier ones."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)

    def push() -> None:
        for message in MANY[:FIT]:
            virtual.conn.outgoing.on_next(message)
        if code == 1000:
            virtual.conn.outgoing.on_completed()
        else:
            virtual.conn.outgoing.on_next(Close(code))
        for message in MANY[FIT:]:
            virtual.conn.outgoing.on_next(message)

    run_in_thread(push)
    virtual.settle()
    assert virtual.close_frame.code == code
    assert virtual.messages == MANY[:FIT]
    assert sum(virtual.dropped.values()) == len(MANY) - FIT


@pytest.mark.parametrize("policy", ["close", *DROPPING], ids=policy_id)
def test_messages_from_a_thread_after_a_close_are_counted(policy: Overflow) -> None:
    """Messages from a thread after a close are counted and do not change the close code."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)
    virtual.conn.outgoing.on_next(Close(4001))

    def push() -> None:
        for message in MANY:
            virtual.conn.outgoing.on_next(message)

    run_in_thread(push)
    virtual.settle()
    assert virtual.close_frame.code == 4001
    assert sum(virtual.dropped.values()) == len(MANY)
    virtual.peer.close(4001)
    virtual.check_over(Close(4001))


@pytest.mark.parametrize("policy", ["close", *DROPPING], ids=policy_id)
def test_a_single_message_of_any_size_is_sent(policy: Overflow) -> None:
    """With every policy, a single message of any size from a thread is sent."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM)
    run_in_thread(lambda: virtual.conn.outgoing.on_next("x" * 10 * ROOM))
    virtual.settle()
    assert virtual.messages == ["x" * 10 * ROOM]
    assert virtual.dropped == {}


@pytest.mark.parametrize("policy", DROPPING, ids=policy_id)
def test_the_policy_applies_to_messages_that_threads_send_one_by_one(policy: Overflow) -> None:
    """The policy also applies if a thread sends its messages one by one to a stalled peer."""
    virtual = VirtualSession(watch=True, overflow=policy, max_buffer=ROOM, send_timeout=1e6)
    virtual.peer.stop()
    for message in MANY:
        run_in_thread(lambda message=message: virtual.conn.outgoing.on_next(message))  # type: ignore[misc] # mypy infers no lambda with a default
        virtual.settle()
    assert virtual.queued <= FIT
    virtual.peer.go()
    assert virtual.messages[0] == MANY[0], "the transport already had it"
    assert virtual.stats.sent_messages + sum(virtual.dropped.values()) == len(MANY)
    if policy != "drop_newest":
        assert virtual.messages[-1] == MANY[-1]
