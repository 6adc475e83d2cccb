"""The codecs: between frames and the user's values."""

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


def test_raw_keeps_str_and_bytes() -> None:
    """`raw` decodes text frames to str and binary ones to bytes, and encodes both."""
    for value in ("é", b"\xff"):
        assert raw.decode(value) is value
        assert raw.encode(value) == value


def test_text_accepts_only_str() -> None:
    """`text` accepts str; a binary frame is a DecodeError with 1003."""
    assert text.decode("é") == "é"
    assert text.encode("é") == "é"
    with pytest.raises(DecodeError, match="binary frame") as caught:
        text.decode(b"x")
    assert (caught.value.raw, caught.value.code) == (b"x", 1003)


def test_binary_accepts_only_bytes() -> None:
    """`binary` accepts bytes; a text frame is a DecodeError with 1003."""
    assert binary.decode(b"\xff") == b"\xff"
    assert binary.encode(b"\xff") == b"\xff"
    with pytest.raises(DecodeError, match="text frame") as caught:
        binary.decode("x")
    assert (caught.value.raw, caught.value.code) == ("x", 1003)


@pytest.mark.parametrize("codec", [raw, binary])
@pytest.mark.parametrize("buffer", [bytearray(b"ab"), memoryview(b"ab")])
def test_other_buffers_are_sent_as_bytes(codec: Codec[Any, Any], buffer: object) -> None:
    """A bytearray and a memoryview are copied to bytes."""
    encoded = codec.encode(buffer)
    assert encoded == b"ab"
    assert type(encoded) is bytes


@pytest.mark.parametrize(
    ("codec", "value", "hint"),
    [
        (raw, 7, "codec=rxws.codecs.json"),
        (raw, None, "accepts str or bytes"),
        (text, b"x", "accepts str"),
        (text, 7, "convert it"),
        (binary, "x", "accepts bytes"),
        (binary, 7, "encode it"),
    ],
)
def test_a_value_of_the_wrong_type_is_an_encode_error(
    codec: Codec[Any, Any], value: object, hint: str
) -> None:
    """A value of the wrong type raises an EncodeError with the value and a hint."""
    with pytest.raises(EncodeError, match=hint) as caught:
        codec.encode(value)
    assert caught.value.value is value
    assert repr(value) in str(caught.value)


@CHECKED
@given(JSON)
def test_json_round_trip(value: Any) -> None:
    """`json` decodes what it has encoded."""
    frame = json.encode(value)
    assert isinstance(frame, str)
    assert json.decode(frame.encode().decode()) == value


@pytest.mark.parametrize("frame", ["", "{", "[1,]", "nul", "NaN", "[Infinity]", "-Infinity"])
def test_json_refuses_invalid_frames(frame: str) -> None:
    """`json` refuses invalid JSON, also NaN and Infinity (RFC 8259)."""
    with pytest.raises(ValueError):
        json.decode(frame)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": -float("inf")}])
def test_json_refuses_to_encode_nan_and_infinity(value: object) -> None:
    """`json` refuses to encode NaN and Infinity, on which `JSON.parse` fails."""
    with pytest.raises(ValueError):
        json.encode(value)


def test_json_refuses_binary_frames() -> None:
    """`json` refuses a binary frame with 1003."""
    with pytest.raises(DecodeError) as caught:
        json.decode(b"{}")
    assert caught.value.code == 1003


def test_typed_validates_frames() -> None:
    """`typed` decodes to the type, or raises an error that says where the frame differs."""
    codec = typed(Point)
    assert codec.decode('{"x": 1}') == Point(1, 0)
    with pytest.raises(ValueError, match=r"\$\.x"):
        codec.decode('{"x": "one"}')
    with pytest.raises(DecodeError) as caught:
        codec.decode(b'{"x": 1}')
    assert caught.value.code == 1003


def test_typed_encodes_whatever_msgspec_encodes() -> None:
    """`typed` encodes whatever msgspec encodes, as a text frame."""
    assert typed(Point).encode(Point(1, 2)) == '{"x":1,"y":2}'
    assert typed(Point).encode({"error": "é"}) == '{"error":"é"}'
    with pytest.raises(TypeError):
        typed(Point).encode(object())


def test_typed_without_msgspec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """`typed` without msgspec raises an ImportError that names the extra."""
    monkeypatch.setitem(sys.modules, "msgspec", None)
    with pytest.raises(ImportError, match=r"pip install 'rxws\[typed\]'"):
        typed(int)


def test_typed_refuses_an_unsupported_type() -> None:
    """`typed` refuses an unsupported type when the codec is made."""
    with pytest.raises(TypeError, match="more than one"):
        typed(Point | Other)


def test_a_codec_is_a_pair_of_functions() -> None:
    """A user's Codec is a pair of functions."""
    numbers = Codec[int, int](encode=str, decode=int)
    assert numbers.decode("7") == 7
    assert numbers.encode(8) == "8"
