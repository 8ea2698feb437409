"""Verify every host of an inventory at the same time, a process of pytest for each, and write the reports.

    python -m tests.verify --inventory inventory [--limit HOST] [--data KEY=VALUE] [--quick] [--journal-window 5m]
    python -m tests.verify --inventory inventory --quick --nagios      one line and a status for monitoring

Words that follow go to pytest, such as `-k ports`. Exit status: 0 everything is so, 1 something is not or not known, 4 the command
or the inventory is wrong. With --nagios: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN.

A process for each host, not threads: pytest has one state for all of a process, and a host that hangs keeps nobody waiting.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path

from roles.inventory import InventoryError, from_anywhere, last_lines
from roles.pins import ROOT
from tests.checkout import commit
from tests.verify.journal import seconds_of
from tests.verify.options import SHARED
from tests.verify.records import HostResult, read_result
from tests.verify.report import STATUS, Run, for_monitoring, in_words, junit, page
from tests.verify.targets import read_targets

TOLD_ITSELF = (0, 1, 5)  # pytest's own: passed, failed, no check chosen; then the record says it all
WRONG_USE = 4  # pytest's own, too


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        "python -m tests.verify", description="verify every host of an inventory at the same time"
    )
    made.add_argument(
        "--inventory", default=os.environ.get("VERIFY_INVENTORY"), help="pyinfra inventory (default: $VERIFY_INVENTORY)"
    )
    for name, words in SHARED.items():
        made.add_argument(name, **words)
    made.add_argument("--nagios", action="store_true", help="one line and a status for monitoring; writes no reports")
    made.add_argument("--reports", type=Path, default=Path("reports/verify"), metavar="FOLDER", help="(reports/verify)")
    made.add_argument("--at-once", type=int, default=16, metavar="NUMBER", help="hosts at the same time (16)")
    return made


def main(words: Sequence[str]) -> int:
    """Verify, tell, write. Returns the exit status."""
    options, further = parser().parse_known_args(words)
    began, when = time.monotonic(), datetime.now(timezone.utc).isoformat(timespec="seconds")
    try:
        if not options.inventory:
            raise ValueError("no inventory given: --inventory inventory")
        seconds_of(options.journal_window)
        targets = read_targets(options.inventory, options.limit, options.data, dict(os.environ))
        if not targets:
            raise ValueError(f"{options.inventory} names no host")
    except (InventoryError, ValueError) as problem:
        print(f"VERIFY UNKNOWN - {' '.join(str(problem).split())}" if options.nagios else str(problem), flush=True)
        return STATUS["unknown"] if options.nagios else WRONG_USE
    passed_on = command(options, further)
    with tempfile.TemporaryDirectory(prefix="verify-") as folder, ThreadPoolExecutor(options.at_once) as pool:
        names = [target.name for target in targets]
        running = [pool.submit(verify, name, passed_on, Path(folder) / str(n)) for n, name in enumerate(names)]
        results = []
        for one in running:  # in the inventory's order; each as soon as those before it are told
            results.append(one.result())
            if not options.nagios:
                print(in_words(results[-1]), flush=True)
    run = Run(
        inventory=options.inventory,
        extent="quick" if options.quick else "full",
        window=options.journal_window,
        when=when,
        seconds=time.monotonic() - began,
        checkout=commit(),
        hosts=results,
    )
    if options.nagios:
        line, status = for_monitoring(run)
        print(line)
        return status
    options.reports.mkdir(parents=True, exist_ok=True)
    (options.reports / "junit.xml").write_text(junit(run), encoding="utf-8")
    (options.reports / "report.html").write_text(page(run), encoding="utf-8")
    print(f"verify: {run.headline}, {run.seconds:.0f} s; {options.reports}/report.html, {options.reports}/junit.xml")
    return 0 if run.worst == "ok" else 1


def command(options: argparse.Namespace, further: Sequence[str]) -> list[str]:
    """pytest's words for any host."""
    words = [
        "--inventory",
        from_anywhere(options.inventory),
        "--journal-window",
        options.journal_window,
        *["--quick"] * options.quick,
    ]
    words += [word for limit in options.limit for word in ("--limit", limit)]
    words += [word for pair in options.data for word in ("--data", pair)]
    return [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/verify", *words, *further]


def verify(host: str, passed_on: Sequence[str], record: Path) -> HostResult:
    """One host in a process of its own. Never raises: what went wrong is the host's trouble."""
    began = time.monotonic()
    words = [*passed_on, "--only-host", host, "--record", str(record)]
    done = subprocess.run(
        words,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    try:
        if done.returncode in TOLD_ITSELF:
            return read_result(record)
        reason = f"pytest ended with status {done.returncode}: {last_lines(done.stdout)}"
    except (OSError, ValueError) as problem:
        reason = f"no record of its checks ({problem}): {last_lines(done.stdout)}"
    return HostResult(host, time.monotonic() - began, trouble=f"{host}: {reason}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
