"""Between values and frames: whatever a codec raises is a typed error."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from rxws import Codec, DecodeError, EncodeError
from rxws._core.frames import Opcode
from rxws._session.encoding import decode_error, encode, size
from rxws.codecs import raw, text


def fail(_: object) -> NoReturn:
    raise KeyError("inner")


def test_str_goes_as_text_and_bytes_as_binary() -> None:
    """The frame's kind is the type of what the codec makes."""
    assert encode(raw, "é") == (Opcode.TEXT, "é".encode())
    assert encode(raw, b"\xff") == (Opcode.BINARY, b"\xff")


def test_a_codecs_own_errors_pass() -> None:
    """They say it best."""
    wrong: Codec[Any, Any] = text
    with pytest.raises(EncodeError, match="takes str") as unsent:
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
