"""Measure the CPU time of processes of the command line that only print their help.

Run `python benchmarks/command_cost.py` from the root of the repository. The results are in
docs/quality/costs.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
from statistics import median

ROUNDS = 15
PROCESSES = {
    "python -c pass": ("-c", "pass"),
    "python -c 'import rxws'": ("-c", "import rxws"),
    "rxws --help": ("-m", "rxws", "--help"),
    "rxws connect --help": ("-m", "rxws", "connect", "--help"),
}


def cpu(arguments: tuple[str, ...]) -> float:
    """Return the CPU time of a process of Python, in seconds."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print the median CPU time of each process, in turn, so that all have the same load."""
    seconds: dict[str, list[float]] = {name: [] for name in PROCESSES}
    for _ in range(ROUNDS):
        for name, arguments in PROCESSES.items():
            seconds[name].append(cpu(arguments))
    for name, measured in seconds.items():
        print(f"{name:24} {median(measured):.3f} s")


if __name__ == "__main__":
    main()
