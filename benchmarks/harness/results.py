"""The results of a run: stored as JSON, evaluated as medians and ratios."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness.cases import CASES, GOAL_PEER, Case, Goal
from benchmarks.harness.rounds import Round, Series


@dataclass(frozen=True)
class Result:
    """The measurements of one case on one event loop."""

    case: str
    loop: str
    other_load: float  # share of the CPUs that other processes used meanwhile
    series: list[Series]

    @property
    def definition(self) -> Case:
        return CASES[self.case]

    def find(self, peer: str, maps: int = 1) -> Series | None:
        return next((s for s in self.series if (s.peer, s.maps) == (peer, maps)), None)


@dataclass(frozen=True)
class Report:
    """All results of one run, and the machine."""

    machine: str
    results: list[Result] = field(default_factory=list[Result])

    def loops(self) -> list[str]:
        return list(dict.fromkeys(result.loop for result in self.results))

    def on_loop(self, loop: str) -> list[Result]:
        return [result for result in self.results if result.loop == loop]

    def packages(self) -> dict[str, str]:
        """Return the versions that the peers reported, by package."""
        versions: dict[str, str] = {}
        for result in self.results:
            for series in result.series:
                versions["Python"] = series.about.get("python", "?")
                versions.update(series.about.get("packages", {}))
        return versions

    def transports(self) -> dict[str, str]:
        """Return the read path that each rxws peer reported, by title."""
        return {
            series.title: series.about["transport"]
            for result in self.results
            for series in result.series
            if series.about.get("transport")
        }


def values_of(rounds: Sequence[Round], name: str = "cpu") -> list[float]:
    """Return one field of each round, without the rounds where it is None."""
    return [value for one in rounds if (value := getattr(one, name)) is not None]


def median_ratio(series: Series, base: Series | None, name: str = "cpu") -> float | None:
    """Return the median of the ratios, each to the same round of `base`."""
    if base is None:
        return None
    pairs = zip(values_of(series.rounds, name), values_of(base.rounds, name), strict=True)
    ratios = [one / other for one, other in pairs]
    return median(ratios) if ratios else None


def cost_per_map(result: Result, peer: str) -> list[float]:
    """Return the µs that each additional operator takes, for each round."""
    few, many = result.definition.maps
    short, long = result.find(peer, few), result.find(peer, many)
    if short is None or long is None:
        return []
    pairs = zip(values_of(long.rounds), values_of(short.rounds), strict=True)
    return [(one - other) / (many - few) for one, other in pairs]


def achieved(result: Result, goal: Goal) -> float | None:
    """Return the value that rxws achieved, in the unit of the goal; None if not measured."""
    if goal.quantity == "map":
        costs = cost_per_map(result, GOAL_PEER)
        return median(costs) if costs else None
    measured = result.find(goal.peer)
    if measured is None or goal.against is None:
        return None
    return median_ratio(measured, result.find(goal.against), goal.quantity)


def machine() -> str:
    """Describe this machine: system, number and model of CPUs."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = (line.partition(":") for line in cpus.read_text().splitlines())
        model = next((value.strip() for name, _, value in lines if "model name" in name), model)
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs ({model})"


def dump(report: Report) -> str:
    return json.dumps(dataclasses.asdict(report), indent=1)


def load(text: str) -> Report:
    """Parse a report that `dump` wrote."""
    data: dict[str, Any] = json.loads(text)
    return Report(data["machine"], [load_result(one) for one in data["results"]])


def load_result(data: dict[str, Any]) -> Result:
    series: list[Series] = []
    for one in data["series"]:
        rounds = [Round(**figures) for figures in one.pop("rounds")]
        series.append(Series(rounds=rounds, **one))
    return Result(data["case"], data["loop"], data["other_load"], series)
