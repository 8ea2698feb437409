"""Running pyinfra as an operator does, with its long output turned into one line per step and kept whole in a log."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from lab.progress import Report

ROOT = Path(__file__).resolve().parent.parent
STEP = "--> Starting operation: "
# What pyinfra says of every step and host; the step's own line is enough.
ROUTINE = re.compile(r"^\s*(\[[^]]+\] (Success|No changes|Skipped|Ready:.*|Connected)|-->.*|)\s*$")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def pyinfra(arguments: Sequence[str], log: Path, report: Report, timeout_s: float = 3600) -> int:
    """Run `pyinfra ARGUMENTS` in the checkout; what it says that is not routine is shown. Returns its exit status."""
    program = Path(sys.executable).parent / "pyinfra"
    command = [str(program), *arguments]
    report(f"$ pyinfra {' '.join(arguments)}")
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert process.stdout is not None  # asked for above
        steps, results = 0, False
        for raw in process.stdout:
            file.write(raw)
            line = COLOUR.sub("", raw).rstrip()
            results = results or line.startswith("--> Results")
            if line.startswith(STEP):
                steps += 1
                report(f"  {steps:3}  {line.removeprefix(STEP).strip()}")
            elif not results and not ROUTINE.match(line):
                report(f"       {line.strip()}")
        return process.wait(timeout_s)


def changes(log: Path) -> str:
    """pyinfra's own last line of totals, e.g. "162 steps, 0 changed, 0 failed"; "" when the run did not get that far."""
    found = re.search(r"Grand total\s+(\S+)\s+(\S+)\s+(\S+)\s+(\S+)", COLOUR.sub("", log.read_text(encoding="utf-8")))
    if found is None:
        return ""
    steps, changed, failed, _ = ("0" if number == "-" else number for number in found.groups())
    return f"{steps} steps, {changed} changed, {failed} failed"
