"""Every test, in two runs of pytest side by side: `python -m tests`. Words that follow go to both, such as `-x` or `--durations=9`.

Hosts boot, settle and answer over ssh while a processor has nothing to do; the other tests have that time. (Not pytest-xdist: all
tests of the lab share its hosts, and what a run says is shown while it is said, behind its name.) Exit status: 0 when both runs
passed, else that of the run that did not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

RUNS = {"hosts": "lab", "others": "not lab"}  # by name, which tests a run has
NOTHING_CHOSEN = 5  # pytest's own; with `-k` one of the runs may have no test
WORDS = {0: "passed", NOTHING_CHOSEN: "no test was chosen"}


def run(marks: Mapping[str, str], words: Sequence[str]) -> int:
    """Run pytest once per expression in `marks`, all at the same time. Returns the exit status."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", "pytest", "-m", expression, *words],
            env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for name, expression in marks.items()
    }  # fmt: skip
    width = max(map(len, started))
    readers = [threading.Thread(target=_show, args=(f"{name:{width}} | ", one)) for name, one in started.items()]
    for reader in readers:
        reader.start()
    try:
        statuses = [one.wait() for one in started.values()]
    except KeyboardInterrupt:  # the runs got it too, and clean up
        statuses = [one.wait() for one in started.values()]
    for reader in readers:
        reader.join()
    for name, status in zip(started, statuses, strict=True):
        print(f"{name:{width}} | {WORDS.get(status, f'did not pass (status {status})')}", flush=True)
    wrong = [status for status in statuses if status != 0]
    return next(
        (status for status in wrong if status != NOTHING_CHOSEN), NOTHING_CHOSEN if len(wrong) == len(marks) else 0
    )


def _show(prefix: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            print(f"{prefix}{line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(run(RUNS, sys.argv[1:]))
