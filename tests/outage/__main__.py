"""What clients see of each kind of change: a host of the lab is deployed in Phase 2, changed in every way, and asked on both
ports all the while. Ten minutes on two idle cores.

  python -m tests.outage                         every change; the table goes into docs/outage.md
  python -m tests.outage --only to-1 --only to-2 these changes; prints the table and writes no page
  python -m tests.outage --keep                  leaves the host, so that the next run begins at once

How it is measured
  Every 20 ms a request to each port over a connection of its own, and another one over kept connections, whatever became
  of those before; every 100 ms a text of one token, every 200 ms an embedding. Failed is what has not a whole answer with
  status 200; nothing is tried again. Out is the time from the first failed request to the first one answered after the
  last failed one. The start of the other server is systemd's own time for it.
  Exit status 1 when a promise is broken, 2 when a change did not work, so that nothing was measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from bench.facts import cpu_model
from lab import Lab, LabError
from lab.locking import locked
from lab.progress import Report, to_stderr
from tests.checkout import commit
from tests.lab.deployments import CHECKOUT, SUFFIX, operator_of
from tests.outage.changes import CHANGES, ChangeFailed, Scene
from tests.outage.measuring import as_json, watched
from tests.outage.page import table, with_table
from tests.outage.records import write

HOST = "outage-phase2"
PAGE = CHECKOUT / "docs" / "outage.md"
RESULTS = Path(__file__).with_name("results")


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m tests.outage", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    top.add_argument("--only", action="append", choices=[change.name for change in CHANGES], metavar="CHANGE")
    top.add_argument("--keep", action="store_true", help="leave the host and what is beside it")
    top.add_argument("--raw", type=Path, metavar="DIR", help="write every request as JSON lines there")
    return top


def machine() -> str:
    """The processor and how many of it, for the page."""
    return f"{cpu_model(Path('/proc/cpuinfo').read_text(encoding='utf-8'))}, {os.cpu_count()} cores, vLLM on CPU"


def go_first() -> None:
    """Have the prober run before what else is on the machine: in life clients have machines of their own. Not so what it starts."""
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, 0, -15)


def measure(scene: Scene, only: Sequence[str], raw: Path | None, report: Report) -> dict[str, Any]:
    """Make the changes one after the other. Raises ChangeFailed."""
    changes = []
    for change in CHANGES:
        if only and change.name not in only:
            continue
        report(f"{change.title} …")
        seen = watched(change, scene)
        if raw is not None:
            write(raw / f"{change.name}.jsonl", seen.records)
            write(raw / f"{change.name}.streams.jsonl", seen.streams)
        changes.append(as_json(change, seen))
        for one in changes[-1]["verdicts"]:
            report(f"    {'kept' if one['is_kept'] else 'BROKEN'}: {one['sentence']}: {one['detail']}")
    at = datetime.now(timezone.utc).isoformat(timespec="seconds")
    load = [round(one, 1) for one in os.getloadavg()]
    return {"date": at, "machine": machine(), "load_average": load, "commit": commit(), "changes": changes}


def run(options: argparse.Namespace, report: Report) -> dict[str, Any]:
    """Deploy a host and measure on it. Raises ChangeFailed and LabError."""
    lab = Lab.for_checkout(CHECKOUT, suffix=SUFFIX)
    in_use = lab.state / f"{lab.names.lab_id}.session"  # as tests/lab/conftest.py has it
    with locked(in_use, "the test lab", report, timeout_s=3600), tempfile.TemporaryDirectory() as folder:
        try:
            operator = operator_of(lab)
            host = lab.up([HOST])[0]
            report("deploy")
            deployed = operator.deploy(hosts=[host])
            if deployed.status:
                raise ChangeFailed(f"the host cannot be deployed\n{deployed.output[-3000:]}")
            scene = Scene(host, operator, operator.of_next_version(Path(folder)))
            return measure(scene, options.only or (), options.raw, report)
        finally:
            if not options.keep:
                lab.destroy_all()


def main(arguments: Sequence[str]) -> int:
    options, report = parser().parse_args(arguments), to_stderr()
    go_first()
    try:
        results = run(options, report)
    except (ChangeFailed, LabError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 2
    made = table(results)
    print(made)
    if not options.only:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps(results, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / "latest.json").write_text(text, encoding="utf-8")
        PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")
    return 0 if all(one["is_kept"] for change in results["changes"] for one in change["verdicts"]) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
