"""The options: their defaults, and what is refused."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from rxws import Close, ConnectionOptions, closing, codecs
from rxws._session.options import Options


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
