"""The options: their defaults and their checks; and the codecs' typed errors."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rxws import Close, Codec, ConnectionOptions, DecodeError, EncodeError, closing, codecs
from rxws._core.frames import Opcode
from rxws._session.encoding import decode_error, encode, size
from rxws._session.options import Options
from rxws.codecs import raw, text
from rxws.overflow import latest
from support.callbacks import raising


def test_defaults() -> None:
    """The options have the documented defaults."""
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
        "kernel_buffer": None,
        "send_timeout": 20.0,
        "close_timeout": 5.0,
        "hold_timeout": 30.0,
        "incoming": "hold",
    }


def test_connection_options_type_all_options_but_codec() -> None:
    """`ConnectionOptions` types every option but `codec`, and `incoming`, which servers have."""
    names = {field.name for field in dataclasses.fields(Options)} - {"codec", "incoming"}
    assert set(ConnectionOptions.__annotations__) == names


def test_options_are_frozen() -> None:
    """Options cannot be changed, as all connections of a route share them."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().heartbeat = 1.0  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # on purpose


def test_protocols_may_be_any_iterable() -> None:
    """`protocols` may be an iterator; it is read once and kept as a tuple."""
    names: Any = iter(["a", "b"])
    assert Options(protocols=names).protocols == ("a", "b")


@pytest.mark.parametrize("name", ["heartbeat", "send_timeout", "close_timeout", "hold_timeout"])
@pytest.mark.parametrize("value", [0, -1, math.inf, math.nan])
def test_seconds_are_positive_and_finite(name: str, value: Any) -> None:
    """A duration that is not positive or not finite raises a ValueError with option and value."""
    with pytest.raises(ValueError, match=rf"{name}={value!r}"):
        Options(**{name: value})


@pytest.mark.parametrize("name", ["heartbeat", "send_timeout", "close_timeout", "hold_timeout"])
@pytest.mark.parametrize("value", ["1", True, [1]])
def test_seconds_are_a_number(name: str, value: Any) -> None:
    """A duration that is not a number raises a TypeError with option and value."""
    with pytest.raises(TypeError, match=rf"{name}=.* is not a number of seconds"):
        Options(**{name: value})


def test_only_the_heartbeat_may_be_none() -> None:
    """`heartbeat` may be None; a timeout may not, or a stalled peer would stay for ever."""
    assert Options(heartbeat=None).heartbeat is None
    none: Any = None
    with pytest.raises(TypeError, match="close_timeout=None"):
        Options(close_timeout=none)


@pytest.mark.parametrize("name", ["max_message_size", "high_water", "max_buffer"])
def test_sizes_are_positive_integers(name: str) -> None:
    """A size must be an integer of 1 or more, as 0 means unbounded in aiohttp."""
    value: Any = 1
    assert getattr(Options(**{name: value}), name) == 1
    for value in (0, -1):
        with pytest.raises(ValueError, match=rf"{name}={value}: use 1 or more bytes"):
            Options(**{name: value})
    for value in (1.5, "1", None, True):
        with pytest.raises(TypeError, match=rf"{name}={value!r} is not a number of bytes"):
            Options(**{name: value})


def test_kernel_buffer_is_a_size_or_none() -> None:
    """`kernel_buffer` must be None or an integer of 1 or more."""
    assert Options(kernel_buffer=1).kernel_buffer == 1
    for value in (0, -1):
        with pytest.raises(ValueError, match=rf"kernel_buffer={value}: use 1 or more bytes"):
            Options(kernel_buffer=value)
    wrong: Any
    for wrong in (1.5, "1", True):
        with pytest.raises(TypeError, match=rf"kernel_buffer={wrong!r} is not a number of bytes"):
            Options(kernel_buffer=wrong)


def test_latest_limits_the_kernel_buffer_by_default() -> None:
    """`overflow.latest` sets `kernel_buffer` to 16 KiB, unless it is given."""
    assert Options(overflow=latest()).kernel_buffer == 16 * 1024
    assert Options(overflow=latest(), kernel_buffer=1 << 20).kernel_buffer == 1 << 20


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"codec": None}, TypeError, "codec=None is not an rxws.Codec: use one of rxws.codecs"),
        ({"codec": str}, TypeError, "use one of rxws.codecs"),
        ({"protocols": "chat"}, TypeError, r"use \['chat'\]"),
        ({"completes": 1000}, TypeError, "completes=1000 is not callable"),
        ({"overflow": "explode"}, ValueError, "overflow='explode' is unknown"),
        ({"overflow": None}, ValueError, "overflow=None is unknown"),
        ({"heartbeats": 1}, TypeError, "heartbeats"),
    ],
)
def test_a_wrong_option_is_refused_with_a_hint(
    options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """A wrong option raises an error that says what to use, when the route is made."""
    with pytest.raises(error, match=message):
        Options(**options)


def test_completes_is_any_function_of_a_close() -> None:
    """`completes` may be any function of a `Close`."""

    def rxjs(close: Close) -> bool:
        return close.code != 1006

    assert Options(completes=rxjs).completes is rxjs


# --- encoding: what a codec raises becomes a typed error --------------------------------------


fail = raising(KeyError, "inner")


def test_str_is_a_text_frame_and_bytes_a_binary_one() -> None:
    """A codec that makes str sends text frames, one that makes bytes binary frames."""
    assert encode(raw, "é") == (Opcode.TEXT, "é".encode())
    assert encode(raw, b"\xff") == (Opcode.BINARY, b"\xff")


def test_a_codecs_own_typed_errors_are_kept() -> None:
    """An EncodeError or DecodeError of the codec itself is kept, with value or frame."""
    wrong: Codec[Any, Any] = text
    with pytest.raises(EncodeError, match="accepts str") as encoding:
        encode(wrong, 7)
    assert encoding.value.value == 7
    with pytest.raises(DecodeError, match="binary frame") as decoding:
        text.decode(b"x")
    assert decode_error(decoding.value, b"x") is decoding.value
    assert (decoding.value.raw, decoding.value.code) == (b"x", 1003)


def test_any_other_exception_is_wrapped() -> None:
    """Any other exception of a codec is wrapped, with the value or frame and the cause."""
    codec: Codec[Any, Any] = Codec(fail, fail)
    with pytest.raises(EncodeError, match="cannot encode 'value'") as encoding:
        encode(codec, "value")
    assert encoding.value.value == "value"
    assert isinstance(encoding.value.__cause__, KeyError)
    cause = KeyError("inner")
    decoding = decode_error(cause, "frame")
    assert str(decoding) == "cannot decode 'frame': 'inner'"
    assert (decoding.raw, decoding.code, decoding.__cause__) == ("frame", 1007, cause)


def test_a_codec_that_makes_neither_str_nor_bytes_is_an_encode_error() -> None:
    """A codec that makes neither str nor bytes raises an EncodeError that names the type."""
    codec: Codec[Any, Any] = Codec(lambda value: value, lambda frame: frame)
    with pytest.raises(EncodeError, match="the codec returned int, not str or bytes"):
        encode(codec, 7)


def test_text_with_a_lone_surrogate_is_an_encode_error() -> None:
    """A lone surrogate is an EncodeError here instead of a 1007 at the peer."""
    with pytest.raises(EncodeError, match="surrogates"):
        encode(text, "\ud800")


def test_an_error_message_quotes_little_of_a_large_value() -> None:
    """An error message quotes at most a line of a large value."""
    codec: Codec[Any, Any] = Codec(fail, fail)
    with pytest.raises(EncodeError) as encoding:
        encode(codec, "x" * 1_000_000)
    assert len(str(encoding.value)) < 200


@pytest.mark.parametrize(
    ("data", "length"), [("", 0), ("abc", 3), ("é", 2), ("🐛", 4), (b"", 0), (b"\xff\x00", 2)]
)
def test_the_size_of_a_message_is_its_bytes(data: str | bytes, length: int) -> None:
    """The size of a message is its number of bytes, not of characters."""
    assert size(data) == length
