"""The codecs: between a frame and the user's value."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxws import Codec, DecodeError, EncodeError
from rxws.codecs import binary, json, raw, text, typed

CHECKED = settings(max_examples=50, deadline=None, derandomize=True)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    # A surrogate has no UTF-8.
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner),
    max_leaves=5,
)


@dataclass
class Point:
    x: int
    y: int = 0


@dataclass
class Other:
    x: int


def test_raw_keeps_both_kinds() -> None:
    """Text is str and binary is bytes, in both directions."""
    for value in ("é", b"\xff"):
        assert raw.decode(value) is value
        assert raw.encode(value) == value


def test_text_speaks_str_only() -> None:
    """A binary frame is of the wrong kind, 1003."""
    assert text.decode("é") == "é"
    assert text.encode("é") == "é"
    with pytest.raises(DecodeError, match="binary frame") as caught:
        text.decode(b"x")
    assert (caught.value.raw, caught.value.code) == (b"x", 1003)


def test_binary_speaks_bytes_only() -> None:
    """A text frame is of the wrong kind, 1003."""
    assert binary.decode(b"\xff") == b"\xff"
    assert binary.encode(b"\xff") == b"\xff"
    with pytest.raises(DecodeError, match="text frame") as caught:
        binary.decode("x")
    assert (caught.value.raw, caught.value.code) == ("x", 1003)


@pytest.mark.parametrize("codec", [raw, binary])
@pytest.mark.parametrize("buffer", [bytearray(b"ab"), memoryview(b"ab")])
def test_other_buffers_are_sent_as_bytes(codec: Codec[Any, Any], buffer: object) -> None:
    """As aiohttp's users are used to; later changes of the buffer do not count."""
    encoded = codec.encode(buffer)
    assert encoded == b"ab"
    assert type(encoded) is bytes


@pytest.mark.parametrize(
    ("codec", "value", "remedy"),
    [
        (raw, 7, "codec=rxws.codecs.json"),
        (raw, None, "accepts str or bytes"),
        (text, b"x", "accepts str"),
        (text, 7, "map it"),
        (binary, "x", "accepts bytes"),
        (binary, 7, "encode it"),
    ],
)
def test_what_cannot_be_sent_is_named_with_the_remedy(
    codec: Codec[Any, Any], value: object, remedy: str
) -> None:
    """And the error carries the value."""
    with pytest.raises(EncodeError, match=remedy) as caught:
        codec.encode(value)
    assert caught.value.value is value
    assert repr(value) in str(caught.value)


@CHECKED
@given(JSON)
def test_json_gives_back_what_it_took(value: Any) -> None:
    """Whatever JSON knows, through a text frame that has UTF-8."""
    frame = json.encode(value)
    assert isinstance(frame, str)
    assert json.decode(frame.encode().decode()) == value


@pytest.mark.parametrize("frame", ["", "{", "[1,]", "nul", "NaN", "[Infinity]", "-Infinity"])
def test_json_refuses_what_is_not_json(frame: str) -> None:
    """RFC 8259 knows no NaN and no infinity."""
    with pytest.raises(ValueError):
        json.decode(frame)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": -float("inf")}])
def test_json_sends_nothing_that_a_browser_cannot_parse(value: object) -> None:
    """`JSON.parse` fails on NaN."""
    with pytest.raises(ValueError):
        json.encode(value)


def test_json_is_in_text_frames() -> None:
    """A binary frame is of the wrong kind, 1003."""
    with pytest.raises(DecodeError) as caught:
        json.decode(b"{}")
    assert caught.value.code == 1003


def test_typed_checks_what_comes_in() -> None:
    """A dataclass comes out, or an error that says where the frame does not fit."""
    codec = typed(Point)
    assert codec.decode('{"x": 1}') == Point(1, 0)
    with pytest.raises(ValueError, match=r"\$\.x"):
        codec.decode('{"x": "one"}')
    with pytest.raises(DecodeError) as caught:
        codec.decode(b'{"x": 1}')
    assert caught.value.code == 1003


def test_typed_sends_anything_that_msgspec_encodes() -> None:
    """As text."""
    assert typed(Point).encode(Point(1, 2)) == '{"x":1,"y":2}'
    assert typed(Point).encode({"error": "é"}) == '{"error":"é"}'
    with pytest.raises(TypeError):
        typed(Point).encode(object())


def test_typed_without_msgspec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The remedy is in the error."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ImportError, match=r"pip install 'rxws\[typed\]'"):
        typed(int)


def test_typed_refuses_a_type_that_msgspec_does_not_know() -> None:
    """When the codec is made, not when the first frame comes."""
    with pytest.raises(TypeError, match="more than one"):
        typed(Point | Other)


def test_a_codec_is_a_pair_of_functions() -> None:
    """A user makes one in a line."""
    numbers = Codec[int, int](encode=str, decode=int)
    assert numbers.decode("7") == 7
    assert numbers.encode(8) == "8"
