"""The options: their defaults, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, NoReturn

import pytest

from rxws import Close, Codec, ConnectionOptions, DecodeError, EncodeError, closing, codecs
from rxws._core.frames import Opcode
from rxws._session.encoding import decode_error, encode, size
from rxws._session.options import Options
from rxws.codecs import raw, text


def test_the_defaults_are_those_of_the_design() -> None:
    """Each by its name and in its unit."""
    options = Options()
    assert dataclasses.asdict(options) | {"codec": options.codec} == {
        "codec": codecs.raw,
        "protocols": (),
        "heartbeat": 20.0,
        "max_message_size": 1024 * 1024,
        "compress": True,
        "completes": closing.is_clean,
        "high_water": 64 * 1024,
        "max_buffer": 1024 * 1024,
        "overflow": "close",
        "send_timeout": 20.0,
        "close_timeout": 5.0,
        "hold_timeout": 30.0,
    }


def test_what_users_write_is_typed_as_what_is_checked() -> None:
    """The keyword arguments of the entry points are these, besides `codec`."""
    names = {field.name for field in dataclasses.fields(Options)} - {"codec"}
    assert set(ConnectionOptions.__annotations__) == names


def test_options_are_made_once() -> None:
    """All connections of a route share them."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().heartbeat = 1.0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # on purpose


def test_protocols_may_be_any_iterable() -> None:
    """It is gone through once, and serves every connection."""
    names: Any = iter(["a", "b"])
    assert Options(protocols=names).protocols == ("a", "b")


@pytest.mark.parametrize("name", ["heartbeat", "send_timeout", "close_timeout", "hold_timeout"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_seconds_are_more_than_none_and_less_than_forever(name: str, value: Any) -> None:
    """The error names option and value."""
    with pytest.raises(ValueError, match=rf"{name}={value!r}"):
        Options(**{name: value})


@pytest.mark.parametrize("name", ["heartbeat", "send_timeout", "close_timeout", "hold_timeout"])
@pytest.mark.parametrize("value", ["1", True, [1]])
def test_seconds_are_a_number(name: str, value: Any) -> None:
    """The error names option and value."""
    with pytest.raises(TypeError, match=rf"{name}=.* is no number of seconds"):
        Options(**{name: value})


def test_heartbeats_can_be_turned_off_and_time_outs_not() -> None:
    """Without a time-out a peer that is stuck stays for ever."""
    assert Options(heartbeat=None).heartbeat is None
    none: Any = None
    with pytest.raises(TypeError, match="close_timeout=None"):
        Options(close_timeout=none)


@pytest.mark.parametrize("name", ["max_message_size", "high_water", "max_buffer"])
def test_bounds_are_a_number_of_bytes(name: str) -> None:
    """0 would leave memory unbounded, as it does in aiohttp, or let nothing pass."""
    value: Any = 1
    assert getattr(Options(**{name: value}), name) == 1
    for value in (0, -1):
        with pytest.raises(ValueError, match=rf"{name}={value} .* use 1 byte or more"):
            Options(**{name: value})
    for value in (1.5, "1", None, True):
        with pytest.raises(TypeError, match=rf"{name}={value!r} is no number of bytes"):
            Options(**{name: value})


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"codec": None}, TypeError, "codec=None is no rxws.Codec: use one of rxws.codecs"),
        ({"codec": str}, TypeError, "use one of rxws.codecs"),
        ({"protocols": "chat"}, TypeError, r"use \['chat'\]"),
        ({"completes": 1000}, TypeError, "completes=1000 is not callable"),
        ({"overflow": "explode"}, ValueError, "overflow='explode' is unknown"),
        ({"overflow": None}, ValueError, "overflow=None is unknown"),
        ({"heartbeats": 1}, TypeError, "heartbeats"),
    ],
)
def test_what_is_wrong_is_named_with_the_remedy(
    options: dict[str, Any], error: type[Exception], said: str
) -> None:
    """When the route is made, not when the first connection comes."""
    with pytest.raises(error, match=said):
        Options(**options)


def test_completes_is_any_function_of_a_close() -> None:
    """RxJS's rule, for one."""

    def rxjs(close: Close) -> bool:
        return close.code != 1006

    assert Options(completes=rxjs).completes is rxjs


# --- between values and frames: whatever a codec raises is a typed error -----------------------


def fail(_: object) -> NoReturn:
    raise KeyError("inner")


def test_str_goes_as_text_and_bytes_as_binary() -> None:
    """The frame's kind is the type of what the codec makes."""
    assert encode(raw, "é") == (Opcode.TEXT, "é".encode())
    assert encode(raw, b"\xff") == (Opcode.BINARY, b"\xff")


def test_a_codecs_own_errors_pass() -> None:
    """They say it best."""
    wrong: Codec[Any, Any] = text
    with pytest.raises(EncodeError, match="accepts str") as unsent:
        encode(wrong, 7)
    assert unsent.value.value == 7
    with pytest.raises(DecodeError, match="binary frame") as unread:
        text.decode(b"x")
    assert decode_error(unread.value, b"x") is unread.value
    assert (unread.value.raw, unread.value.code) == (b"x", 1003)


def test_any_other_exception_is_wrapped() -> None:
    """With the value or frame it was about, and its cause."""
    codec: Codec[Any, Any] = Codec(fail, fail)
    with pytest.raises(EncodeError, match="cannot encode 'value'") as unsent:
        encode(codec, "value")
    assert unsent.value.value == "value"
    assert isinstance(unsent.value.__cause__, KeyError)
    cause = KeyError("inner")
    unread = decode_error(cause, "frame")
    assert str(unread) == "cannot decode 'frame': 'inner'"
    assert (unread.raw, unread.code, unread.__cause__) == ("frame", 1007, cause)


def test_a_codec_that_makes_neither_str_nor_bytes_is_told_so() -> None:
    """Nothing else is a frame."""
    codec: Codec[Any, Any] = Codec(lambda value: value, lambda frame: frame)
    with pytest.raises(EncodeError, match="made int of it, not str or bytes"):
        encode(codec, 7)


def test_text_that_has_no_utf8_is_an_encode_error() -> None:
    """A lone surrogate would be a 1007 at the peer."""
    with pytest.raises(EncodeError, match="surrogates"):
        encode(text, "\ud800")


def test_an_error_quotes_no_more_than_a_line_of_what_it_is_about() -> None:
    """A megabyte stays out of the log."""
    codec: Codec[Any, Any] = Codec(fail, fail)
    with pytest.raises(EncodeError) as unsent:
        encode(codec, "x" * 1_000_000)
    assert len(str(unsent.value)) < 200


@pytest.mark.parametrize(
    ("data", "length"), [("", 0), ("abc", 3), ("é", 2), ("🐛", 4), (b"", 0), (b"\xff\x00", 2)]
)
def test_the_size_of_a_message_is_its_bytes(data: str | bytes, length: int) -> None:
    """As they were on the wire, not characters."""
    assert size(data) == length
