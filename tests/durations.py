"""Where the time of a run of pytest went, by file, from its JUnit XML. Pure.

A fixture's time is that of the test which asked for it first: deployed hosts of `served` count for one file of several.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass

MOST = 12


@dataclass(frozen=True)
class File:
    """A file of tests. `seconds` with what its fixtures took."""

    name: str
    tests: int
    seconds: float


def by_file(junit: str) -> list[File]:
    """Files of tests, the slowest first. :param junit: what `pytest --junitxml` wrote."""
    found: dict[str, list[float]] = {}
    for case in ElementTree.fromstring(junit).iter("testcase"):
        found.setdefault(case.get("classname", "").replace(".", "/") + ".py", []).append(float(case.get("time", "0")))
    files = [File(name, len(times), sum(times)) for name, times in found.items()]
    return sorted(files, key=lambda file: -file.seconds)


def told(files: list[File], most: int = MOST) -> list[str]:
    """Lines for people: the sum, then the slowest files."""
    tests, seconds = sum(file.tests for file in files), sum(file.seconds for file in files)
    lines = [f"{tests} test{'s' * (tests != 1)} took {_minutes(seconds)}; the slowest files:"]
    lines += [f"{_minutes(file.seconds):>9}  {file.tests:4}  {file.name}" for file in files[:most]]
    rest = files[most:]
    if rest:
        total = sum(file.seconds for file in rest)
        lines.append(f"{_minutes(total):>9}  {sum(file.tests for file in rest):4}  in {len(rest)} others")
    return lines


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02} min"
