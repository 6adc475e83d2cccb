"""Group the stacks that py-spy samples by the component that does the work."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

# A frame is `function (file:line)`, or `function (library)` if the line is unknown.
FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(:\d+)?\)\s*")
CALLS = {
    "kernel: send": {"send", "sendto", "sendmsg", "write", "writev"},
    "kernel: receive": {"recv", "recvfrom", "recvmsg", "read"},
    "kernel: wait": {"epoll_wait", "epoll_pwait", "epoll_ctl"},
    "kernel: memory": {"mmap", "mmap64", "munmap", "mremap", "madvise", "brk"},
}
# The first pattern that matches decides. A frame that matches none, such as a C function of Python,
# counts for its caller.
OWNERS = (
    (re.compile(r"(^|/)(\w+_peer|peers/runner)\.py$"), "echo handler"),
    (re.compile(r"^(.*/)?(rxws/(\w+/)*\w+)\.py$"), r"\2"),
    (re.compile(r"(^|/)reactivex/"), "reactivex"),
    (
        re.compile(r"(^|/)aiohttp/_websocket/(reader|mask|helpers)|^(reader_c|mask)\.c"),
        "aiohttp: parser",
    ),
    (re.compile(r"(^|/)aiohttp/_websocket/writer"), "aiohttp: writer"),
    (re.compile(r"(^|/)aiohttp/"), "aiohttp: other"),
    (re.compile(r"(^|/)websockets/"), "websockets"),
    (re.compile(r"(^|/)(picows|aiofastnet)[/.]"), "picows"),
    (re.compile(r"(^|/)uvloop[/.]|^loop\.c|^loop\.cpython"), "uvloop"),
    (re.compile(r"(^|/)(asyncio|selectors)[/.]|^_asynciomodule\.c"), "asyncio"),
    (re.compile(r"^libz\b|^zlibmodule\.c"), "zlib"),
)
OTHER = "other"


def by_owner(lines: Iterable[str]) -> Counter[str]:
    """Count the samples of each component, from lines `frame;frame;... count`."""
    samples: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        if stack:
            samples[owner(stack.split(";"))] += int(count)
    return samples


def owner(frames: list[str]) -> str:
    """Return the component that does the work of a stack; the innermost frame is the last."""
    for number, frame in enumerate(reversed(frames)):
        parts = FRAME.fullmatch(frame)
        if parts is None:
            continue
        function, file = parts["function"], parts["file"]
        if number < 2 and file.startswith("libc"):
            for group, names in CALLS.items():
                if function.lstrip("_") in names:
                    return group
        for pattern, name in OWNERS:
            if match := pattern.search(file):
                return match.expand(name)
    return OTHER
