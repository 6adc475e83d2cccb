"""What a run has found: kept as JSON, and asked for medians and ratios."""

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

from benchmarks.harness.cases import CASES, SUBJECT, Case, Goal
from benchmarks.harness.rounds import Round, Series


@dataclass(frozen=True)
class Result:
    """One case on one event loop."""

    case: str
    loop: str
    others: float  # the share of the machine's CPUs that others used meanwhile
    series: list[Series]

    @property
    def of(self) -> Case:
        return CASES[self.case]

    def find(self, peer: str, maps: int = 1) -> Series | None:
        return next((s for s in self.series if (s.peer, s.maps) == (peer, maps)), None)


@dataclass(frozen=True)
class Report:
    """All that was measured in one run, and where."""

    machine: str
    results: list[Result] = field(default_factory=list[Result])

    def loops(self) -> list[str]:
        return list(dict.fromkeys(result.loop for result in self.results))

    def on(self, loop: str) -> list[Result]:
        return [result for result in self.results if result.loop == loop]

    def packages(self) -> dict[str, str]:
        """The versions that the peers have told."""
        found: dict[str, str] = {}
        for result in self.results:
            for series in result.series:
                found["Python"] = series.about.get("python", "?")
                found.update(series.about.get("packages", {}))
        return found

    def transports(self) -> dict[str, str]:
        """What each rxws has told about the way that its frames take."""
        return {
            series.title: series.about["transport"]
            for result in self.results
            for series in result.series
            if series.about.get("transport")
        }


def quantity(rounds: Sequence[Round], name: str = "cpu") -> list[float]:
    """One figure of each round, where it has it."""
    return [value for one in rounds if (value := getattr(one, name)) is not None]


def ratio(series: Series, base: Series | None, name: str = "cpu") -> float | None:
    """The median of the ratios that the rounds have, each to the same round of the other."""
    if base is None:
        return None
    pairs = zip(quantity(series.rounds, name), quantity(base.rounds, name), strict=True)
    ratios = [one / other for one, other in pairs]
    return median(ratios) if ratios else None


def per_map(result: Result, peer: str) -> list[float]:
    """µs that each further operator takes, in each round."""
    few, many = result.of.maps
    short, long = result.find(peer, few), result.find(peer, many)
    if short is None or long is None:
        return []
    pairs = zip(quantity(long.rounds), quantity(short.rounds), strict=True)
    return [(one - other) / (many - few) for one, other in pairs]


def reached(result: Result, goal: Goal) -> float | None:
    """What the subject has reached of a goal, in the goal's unit; None if it was not measured."""
    if goal.quantity == "map":
        found = per_map(result, SUBJECT)
        return median(found) if found else None
    subject = result.find(SUBJECT)
    if subject is None or goal.against is None:
        return None
    return ratio(subject, result.find(goal.against), goal.quantity)


def machine() -> str:
    """Where this is run."""
    model = platform.processor() or platform.machine()
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        lines = (line.partition(":") for line in cpus.read_text().splitlines())
        model = next((value.strip() for name, _, value in lines if "model name" in name), model)
    return f"{platform.system()} {platform.release()}, {os.cpu_count()} CPUs ({model})"


def dump(report: Report) -> str:
    return json.dumps(dataclasses.asdict(report), indent=1)


def load(text: str) -> Report:
    """What `dump` has written."""
    data: dict[str, Any] = json.loads(text)
    return Report(data["machine"], [result(one) for one in data["results"]])


def result(data: dict[str, Any]) -> Result:
    found: list[Series] = []
    for one in data["series"]:
        rounds = [Round(**figures) for figures in one.pop("rounds")]
        found.append(Series(rounds=rounds, **one))
    return Result(data["case"], data["loop"], data["others"], found)
