"""The parameters that a visitor of the page chooses, and their checks."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

__all__ = ["Choice", "Number", "Parameter", "Text", "check_text", "parse_parameters"]


@dataclass(frozen=True, slots=True)
class Number:
    """A number in a range; if `default` is an int, a whole number."""

    label: str
    default: float
    low: float
    high: float
    unit: str = ""

    @property
    def whole(self) -> bool:
        return isinstance(self.default, int)

    def parse(self, value: object) -> float:
        """Return the value, or raise `ValueError`."""
        kind = "a whole number" if self.whole else "a number"
        expected = f"{self.label} must be {kind} from {self.low:g} to {self.high:g}"
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"{expected}, not {_shown(value)}")
        if not self.low <= value <= self.high or (self.whole and value != int(value)):
            raise ValueError(f"{expected}, not {value:g}")
        return int(value) if self.whole else float(value)

    def describe(self) -> dict[str, Any]:
        """Describe the input for the page."""
        return {"kind": "number", "step": 1 if self.whole else 0.05, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Text:
    """A short text."""

    label: str
    default: str
    longest: int = 40

    def parse(self, value: object) -> str:
        """Return the value, or raise `ValueError`."""
        return check_text(self.label, value, self.longest)

    def describe(self) -> dict[str, Any]:
        """Describe the input for the page."""
        return {"kind": "text", **asdict(self)}


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values."""

    label: str
    default: str
    choices: dict[str, str]  # the values, and what the page shows

    def parse(self, value: object) -> str:
        """Return the value, or raise `ValueError`."""
        if not isinstance(value, str) or value not in self.choices:
            known = ", ".join(self.choices)
            raise ValueError(f"{self.label} must be one of {known}, not {_shown(value)}")
        return value

    def describe(self) -> dict[str, Any]:
        """Describe the input for the page."""
        return {"kind": "choice", **asdict(self)}


Parameter = Number | Text | Choice


def check_text(name: str, value: object, longest: int) -> str:
    """Return a text that can be sent, or raise `ValueError`."""
    if not isinstance(value, str):
        raise ValueError(f"{name} must be a text, not {_shown(value)}")
    if len(value) > longest:
        raise ValueError(f"{name} must have at most {longest} characters, not {len(value)}")
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError(f"{name} must be valid Unicode")
    return value


def parse_parameters(owner: str, parameters: dict[str, Parameter], given: object) -> dict[str, Any]:
    """Return the value of each parameter, with the defaults of those that are not given.

    Raises:
        ValueError: A value is wrong, or there is no such parameter.
    """
    if not isinstance(given, dict):
        raise ValueError(f"{owner}: its parameters must be an object, not {_shown(given)}")
    chosen = cast(dict[str, Any], given)
    for name in chosen:
        if name not in parameters:
            known = ", ".join(parameters) or "none"
            raise ValueError(f"{owner} has no parameter {_shown(name)}: it has {known}")
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        try:
            values[name] = parameter.parse(chosen.get(name, parameter.default))
        except ValueError as error:
            raise ValueError(f"{owner}: {error}") from None
    return values


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:39]}…"
