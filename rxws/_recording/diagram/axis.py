"""The ticks of the time axis, and times and rates as text."""

from __future__ import annotations

import math

from .labels import number

__all__ = ["clock", "duration", "nice", "rate", "ticks"]

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200)
_DAY = 86400.0
_UNITS = ((1.0, "s", 3), (1e-3, "ms", 2), (1e-6, "µs", 1))
_CLOCK = 120.0  # seconds: longer times are written as on a clock


def nice(least: float) -> float:
    """Return the shortest round step of at least `least` seconds.

    Examples:
        >>> nice(0.03), nice(0.3), nice(3), nice(40), nice(100000)
        (0.05, 0.5, 5, 60, 172800.0)
    """
    if least > _STEPS[-1]:
        return _decimal(least / _DAY) * _DAY
    if least > 1:
        return next(step for step in _STEPS if step >= least)
    return _decimal(max(least, 1e-9))


def _decimal(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least) + 1e-9)
    return next(
        float(f"{part * power:.3g}") for part in (1, 2, 5, 10) if part * power >= least * 0.999
    )


def ticks(start: float, stop: float, count: int) -> list[tuple[float, str]]:
    """Return about `count` round times from `start` to `stop`, each with its label.

    Examples:
        >>> ticks(0, 1.2, 3)
        [(0.0, '0 s'), (0.5, '0.5 s'), (1.0, '1.0 s')]
    """
    step = nice((stop - start) / max(count, 1))
    first = math.ceil(start / step - 1e-6)
    last = math.floor(stop / step + 1e-6)
    return [(index * step, _label(index * step, step, stop)) for index in range(first, last + 1)]


def _label(time: float, step: float, stop: float) -> str:
    if stop <= _CLOCK:
        unit, name, _ = _unit(stop)
        digits = max(0, -math.floor(math.log10(step / unit) + 1e-9))
        return f"{time / unit:.{digits}f} {name}" if round(time / step) else f"0 {name}"
    if step >= _DAY:
        return f"{time / _DAY:g} d"
    if step >= 3600:
        return f"{time / 3600:g} h"
    if step >= 60 and stop < 7200:
        return f"{time / 60:g} min"
    digits = 0 if step >= 1 else -math.floor(math.log10(step) + 1e-9)
    return clock(time, digits)


def _unit(time: float) -> tuple[float, str, int]:
    """Return the unit for a time: its length in seconds, its name, and the decimals to show."""
    return next((unit for unit in _UNITS if time >= 0.1 * unit[0]), _UNITS[-1])


def clock(time: float, digits: int = 0) -> str:
    """Return a time as hours, minutes and seconds.

    Examples:
        >>> clock(75), clock(3675.25, 2)
        ('1:15', '1:01:15.25')
    """
    whole = round(time * 10**digits)
    seconds, part = divmod(whole, 10**digits)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
    return f"{text}.{part:0{digits}}" if digits else text


def duration(time: float) -> str:
    """Return a time with its unit, as tooltips show it.

    Examples:
        >>> duration(0.01234), duration(12.3456), duration(3675.2)
        ('12.34 ms', '12.346 s', '1:01:15.2')
    """
    unit, name, digits = _unit(time or 1.0)
    if time > _CLOCK:
        return clock(time, 1)
    return f"{time / unit:.{digits}f} {name}"


def rate(count: int, time: float) -> str:
    """Return a count as a rate: per second, or per minute or hour if it is low.

    Examples:
        >>> rate(150, 1), rate(1, 600), rate(2, 60)
        ('150/s', '6/h', '2/min')
    """
    units = ((1.0, "s"), (60.0, "min"))
    large_enough = (each for each in units if count * each[0] / time >= 0.5)
    unit, name = next(large_enough, (3600.0, "h"))
    return f"{number(float(f'{count * unit / time:.3g}'))}/{name}"
