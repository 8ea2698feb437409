"""Every test but the slow ones (tests/long.py), in two runs of pytest side by side: `python -m tests`.

Words that follow go to both, such as `-x` or `--durations=9`.

Hosts boot, settle and answer over ssh while a processor has nothing to do; the other tests have that time. (Not pytest-xdist: all
tests of the lab share its hosts, and what a run says is shown while it is said, behind its name.) Exit status: 0 when both runs
passed, else that of the run that did not.

Where tests of a few files fail in it, those files run once more by themselves when both runs are over: two cores that are busy with
the other run make a host or a server late. What passes then is told as such at the end, by name, and is worth a look; what fails
again has failed. (Whole files: tests of the lab go on from what those before them made of a host.)

At the end each run says which files its time went to (tests/durations.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.durations import by_file
from tests.durations import told as told_of

RUNS = {"hosts": "lab and not slow", "others": "not lab and not slow"}  # by name, which tests a run has
FAILED = 1  # pytest's own: tests ran, and some failed
FEW = 3  # files of tests; when tests of more have failed, it is no matter of being late
LISTED = 20
JUNIT = ("-o", "junit_family=xunit1")  # tests record properties, which the newer family has no place for
NOTHING_CHOSEN = 5  # pytest's own; with `-k` one of the runs may have no test
WORDS = {0: "passed", NOTHING_CHOSEN: "no test was chosen"}


def run(marks: Mapping[str, str], words: Sequence[str]) -> int:
    """Run pytest once per expression in `marks`, all at the same time. Returns the exit status."""
    width = max(map(len, marks))
    with tempfile.TemporaryDirectory(prefix="tests-") as folder:
        caches = {name: Path(folder) / name for name in marks}
        started = {name: _start(expression, words, caches[name]) for name, expression in marks.items()}
        readers = [threading.Thread(target=_show, args=(f"{name:{width}} | ", one)) for name, one in started.items()]
        for reader in readers:
            reader.start()
        try:
            statuses = {name: one.wait() for name, one in started.items()}
        except KeyboardInterrupt:  # the runs got it too, and clean up
            statuses = {name: one.wait() for name, one in started.items()}
        for reader in readers:
            reader.join()
        told = {name: WORDS.get(status, f"did not pass (status {status})") for name, status in statuses.items()}
        for name in marks:
            told[name] += "".join(f"\n{'':{width}} |   {line}" for line in _times(caches[name]))
        for name, status in statuses.items():
            failed = _failed(caches[name])
            if status == FAILED and failed:
                told[name] += "".join(f"\n{'':{width}} |   {test}" for test in failed[:LISTED])
                told[name] += f"\n{'':{width}} |   and {len(failed) - LISTED} more" * (len(failed) > LISTED)
            files = sorted({test.partition("::")[0] for test in failed})
            if status == FAILED and 0 < len(files) <= FEW:
                alone = _start(marks[name], (*words, *files), caches[name])
                _show(f"{name:{width}} | again: ", alone)
                statuses[name] = alone.wait()
                again = "these passed when they ran by themselves" if statuses[name] == 0 else "and not by themselves"
                told[name] += f"\n{'':{width}} | {again}"
    for name, text in told.items():
        print(f"{name:{width}} | {text}", flush=True)
    wrong = [status for status in statuses.values() if status != 0]
    return next(
        (status for status in wrong if status != NOTHING_CHOSEN), NOTHING_CHOSEN if len(wrong) == len(marks) else 0
    )


def _start(expression: str, words: Sequence[str], cache: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-m", expression, "-o", f"cache_dir={cache}", *JUNIT, f"--junitxml={cache}.xml", *words],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def _failed(cache: Path) -> list[str]:
    """The tests that failed in the last run with this cache."""
    try:
        found: dict[str, bool] = json.loads((cache / "v/cache/lastfailed").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return sorted(found)


def _times(cache: Path) -> list[str]:
    """Where the time of the last run with this cache went; nothing when it wrote nothing, or ran nothing."""
    try:
        files = by_file(cache.with_name(f"{cache.name}.xml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return []
    return told_of(files) if files else []


def _show(prefix: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            print(f"{prefix}{line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(run(RUNS, sys.argv[1:]))
