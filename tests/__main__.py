"""Every test, in two runs of pytest side by side: `python -m tests`. Words that follow go to both, such as `-x` or `--durations=9`.

Hosts boot, settle and answer over ssh while a processor has nothing to do; the other tests have that time. (Not pytest-xdist: all tests
of the lab share its hosts, and what a run says is shown while it is said.) Each line comes
behind the name of its run, at once. Exit status: 0 when both runs passed, else that of the run that did not.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence

# By name, which tests a run has. pytest's 5 means that no test was chosen, as with `-k`.
RUNS = {"hosts": "lab", "others": "not lab"}
PASSED = (0, 5)


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
        print(f"{name:{width}} | {'passed' if status in PASSED else f'did not pass (status {status})'}", flush=True)
    return next((status for status in statuses if status not in PASSED), 0)


def _show(prefix: str, process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    with process.stdout as lines:
        for line in lines:
            print(f"{prefix}{line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(run(RUNS, sys.argv[1:]))
