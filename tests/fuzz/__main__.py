"""Fuzz the adapter: the HTTP front, the reader of vLLM's answers, the readers of JSON.

    python -m tests.fuzz [--minutes 10] [--target http|sse|json|all] [--seed N] [--out DIRECTORY]
    python -m tests.fuzz --replay FILE

In this process's children: the real server and application on transports without a network, guided by coverage where
atheris is installed. Then over real sockets: the running program between clients and upstreams that misbehave.
Exit status 1 where something was found; a reproducer of each kind is in the directory.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.engine import has_atheris
from tests.fuzz.findings import Findings
from tests.fuzz.open_findings import OPEN
from tests.fuzz.targets import TARGETS
from tests.fuzz.wire import run_wire

# Target -> parts and their shares of the time. "wire" is the running program over sockets.
_PARTS: dict[str, dict[str, float]] = {
    "http": {"front": 0.55, "wire": 0.45},
    "sse": {"events": 0.4, "upstream": 0.3, "wire": 0.3},
    "json": {"json": 1.0},
    "all": {"front": 0.25, "events": 0.2, "upstream": 0.15, "json": 0.1, "wire": 0.3},
}
_START_S = 60.0


@dataclass
class Row:
    """One line of the summary."""

    part: str
    engine: str
    executions: int
    seconds: float
    coverage: str = "-"
    memory: str = "-"
    files: str = "-"


def run_part(part: str, seconds: float, seed: int, out: Path) -> Row:
    """Run one target in a process of its own."""
    started = time.monotonic()
    command = [
        sys.executable,
        "-m",
        "tests.fuzz.engine",
        part,
        f"--seconds={seconds}",
        f"--seed={seed}",
        f"--out={out}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds * 2 + _START_S)
    (out / f"{part}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    took = time.monotonic() - started
    if not has_atheris():
        return Row(part, "chance", int(json.loads(done.stdout.splitlines()[-1])["executions"]), took)
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    if executed is None:  # ended by a hang or by memory; libFuzzer has saved the input beside the log
        crash = next(out.glob(f"{part}-*-*"), None)
        (out / f"{part}-ended.txt").write_text(
            f"libFuzzer ended early: {crash}\n{done.stderr[-3000:]}", encoding="utf-8"
        )
    states = re.findall(r"cov: (\d+) ft: (\d+).*?rss: (\d+)Mb", done.stderr)
    coverage = f"{states[-1][0]} edges, {states[-1][1]} features" if states else "-"
    memory = f"{states[0][2]} → {states[-1][2]} MiB" if states else "-"
    return Row(part, "atheris", int(executed.group(1)) if executed else 0, took, coverage, memory)


def run_over_sockets(seconds: float, seed: int, out: Path) -> Row:
    """Run the program between bad clients and bad upstreams."""
    started = time.monotonic()
    findings = Findings(out, "wire")
    try:
        measured = run_wire(findings, seconds=seconds, seed=seed)
    except Exception as error:
        findings.add(b"", error)
        return Row("wire", "chance", 0, time.monotonic() - started)
    mebibytes = [value / 2**20 for value in (measured.memory_before, measured.memory_after)]
    return Row(
        "wire", "chance", measured.executions, time.monotonic() - started,
        memory="{:.1f} → {:.1f} MiB".format(*mebibytes), files=f"{measured.files_before} → {measured.files_after}",
    )  # fmt: skip


def found_in(out: Path) -> dict[Path, str]:
    """The findings of a run: file with the explanation -> first line of it."""
    return {path: path.read_text(encoding="utf-8").partition("\n")[0] for path in sorted(out.glob("*.txt"))}


def summary(rows: list[Row], found: dict[Path, str]) -> str:
    """The table that a person reads."""
    lines = ["| part | engine | executions | seconds | coverage | memory | open files | findings |", "|" + "---|" * 8]
    for row in rows:
        count = sum(path.name.startswith(f"{row.part}-") for path in found)
        cells = (row.part, row.engine, f"{row.executions:,}", f"{row.seconds:.0f}", row.coverage, row.memory, row.files)
        lines.append("| " + " | ".join((*cells, str(count))) + " |")
    for path, kind in found.items():
        lines.append(f"FOUND {kind}{' (known: ' + OPEN[kind] + ')' if kind in OPEN else ''}  {path}")
    return "\n".join(lines)


def replay(path: Path) -> int:
    """Run one saved input; the target is the beginning of its file name."""
    TARGETS[path.name.partition("-")[0]](path.read_bytes())
    print("nothing found")
    return 0


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--target", choices=sorted(_PARTS), default="all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, help="for logs and reproducers; a new directory if not given")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one saved input")
    options = parser.parse_args(arguments)
    if options.replay:
        return replay(options.replay)
    out: Path = options.out or Path(tempfile.mkdtemp(prefix="fuzz-found-"))
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    for part, share in _PARTS[options.target].items():
        seconds = options.minutes * 60 * share
        print(f"{part}: {seconds:.0f} s", file=sys.stderr)
        rows.append(
            (run_over_sockets if part == "wire" else lambda *a, p=part: run_part(p, *a))(seconds, options.seed, out)
        )
    found = found_in(out)
    print(summary(rows, found))
    print(f"logs and reproducers: {out}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
