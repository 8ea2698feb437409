"""The tests that take minutes each, `python -m tests.long`: run, and their results written to docs/long-tests.md.

`make test` leaves them out, so that it stays under three quarters of an hour. Words that follow go to pytest; with any, nothing
is written.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from bench.marked_part import MarkedPart
from tests.checkout import commit

PAGE = Path(__file__).resolve().parents[1] / "docs" / "long-tests.md"
PART = MarkedPart("docs/long-tests.md", "<!-- make test-long -->", "<!-- end of make test-long -->")


def rows(junit: str) -> list[tuple[str, str, str, float]]:
    """(file, test, result, seconds) of each test. :param junit: what pytest wrote as JUnit XML."""
    found = []
    for case in ElementTree.fromstring(junit).iter("testcase"):
        kinds = {child.tag for child in case}
        result = "**failed**" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        file = "/".join(case.get("classname", "").split(".")) + ".py"
        found.append((file, case.get("name", ""), result, float(case.get("time", "0"))))
    return found


def table(found: Sequence[tuple[str, str, str, float]], seen: str) -> str:
    """The part of the page between the marks. :param seen: when, on which commit and machine."""
    lines = [f"Seen: {seen}.", "", "| file | test | result | seconds |", "|---|---|---|---:|"]
    lines += [
        f"| {file} | {' '.join(name.split('_'))} | {result} | {seconds:.0f} |" for file, name, result, seconds in found
    ]
    return "\n".join(lines) + "\n"


def main(words: Sequence[str]) -> int:
    """Exit status of pytest."""
    seen = (
        f"{date.today().isoformat()}, {commit()}, {os.cpu_count()} cores"  # now: the page itself changes the checkout
    )
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        status = subprocess.run(
            [sys.executable, "-m", "pytest", "-m", "slow", f"--junitxml={report}", "tests/lab", *words]
        ).returncode
        if report.exists() and not words:
            text = table(rows(report.read_text(encoding="utf-8")), seen)
            page = PAGE.read_text(encoding="utf-8")
            PAGE.write_text(PART.replaced(page, text), encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
