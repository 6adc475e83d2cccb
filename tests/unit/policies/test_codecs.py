"""The codecs: between frames and the user's values."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
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

HEX = st.text("dD89abcdefABCDEF0", min_size=4, max_size=4)
JSON_TEXT = st.one_of(
    st.lists(st.one_of(st.just("a"), HEX.map(r"\u{}".format), st.just(r"\\")))
    .map("".join)
    .map('"{}"'.format),
    st.tuples(st.integers(), st.integers(-400, 400)).map(lambda pair: "{}e{}".format(*pair)),
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


TYPED = typed(Any)


@pytest.mark.promise("shared")
@pytest.mark.parametrize("codec", [json, TYPED], ids=["json", "typed"])
@pytest.mark.parametrize(
    "frame",
    [
        r'{"text":"\ud83d"}',
        r'"\uD83D"',
        r'"\ude00\ud83d"',
        r'{"\udc00": 1}',
        r'["\ud83d\u0041"]',
        '{"n":1e999}',
        "-1e400",
        "[1E+309]",
        "1" * 400 + ".0",
        "NaN",
    ],
)
def test_json_refuses_what_it_cannot_send(codec: Codec[Any, Any], frame: str) -> None:
    """`json` and `typed` refuse to decode a value that they could not encode again for others."""
    with pytest.raises(ValueError):
        codec.decode(frame)


@pytest.mark.parametrize("codec", [json, TYPED], ids=["json", "typed"])
@pytest.mark.parametrize(
    ("frame", "value"),
    [
        (r'"\ud83d\ude00"', "😀"),
        (r'"\uD83D\uDE00 \u00e9"', "😀 é"),
        (r'"\\ud83d"', "\\ud83d"),
        ("1.7976931348623157e308", 1.7976931348623157e308),
        ("1e-999", 0.0),
        ("[1.5,-0.0]", [1.5, -0.0]),
    ],
)
def test_json_decodes_what_it_can_send(codec: Codec[Any, Any], frame: str, value: Any) -> None:
    """Pairs of surrogates, the largest numbers and tiny ones are decoded, and can be sent."""
    assert codec.decode(frame) == value
    assert codec.decode(codec.encode(value)) == value
    codec.encode(value).encode()  # type: ignore[union-attr]


@pytest.mark.parametrize("digits", [400, 4000])
def test_json_decodes_large_integers(digits: int) -> None:
    """`json` decodes an integer of any size that it can send."""
    assert json.encode(json.decode("9" * digits)) == "9" * digits


@CHECKED
@given(st.recursive(JSON_TEXT, lambda inner: st.lists(inner).map(", ".join).map("[{}]".format)))
def test_json_can_send_whatever_it_decodes(frame: str) -> None:
    """Whatever `json` decodes, it can encode to a text frame again, for any frame."""
    try:
        value = json.decode(frame)
    except ValueError:
        return
    json.encode(value).encode()  # type: ignore[union-attr]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"x": -float("inf")}])
def test_json_refuses_to_encode_nan_and_infinity(value: object) -> None:
    """`json` refuses to encode NaN and Infinity, on which `JSON.parse` fails."""
    with pytest.raises(ValueError):
        json.encode(value)


@dataclass
class Tick:
    price: int


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (Tick(1), "dataclasses.asdict, or use codec=rxws.codecs.typed"),
        ([{"at": date(2026, 1, 2)}], "convert it, or use codec=rxws.codecs.typed"),
    ],
)
def test_json_names_a_codec_for_other_types(value: Any, remedy: str) -> None:
    """The error for a value that `json` cannot encode names a codec that can."""
    with pytest.raises(TypeError, match=f"is not JSON serializable: .*{remedy}"):
        json.encode(value)
    assert typed(Any).encode(value)


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
    with pytest.raises(ImportError, match=r"pip install 'path/to/rxws\[typed\]'"):
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
