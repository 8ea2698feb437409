"""Where the adapter's processor time goes: py-spy looks at it 500 times a second while it is under load."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from bench import processes
from bench.measures import QUICK, ROUND_MEASURES, Measure, Subject, measured
from bench.run import new_event_loop, split_cores
from bench.targets import TARGETS, Absent, Place, Running, free_port, start_mock, started
from lab.progress import Report

PROFILED = ("short", "short-stream", "paced", "burst")
_SECONDS = 8
_RATE = 500
_SHOWN = 40
_PACKAGE = "(ollama_adapter/"
_LINE = re.compile(r":\d+\)$")


def shares(stacks: Iterable[str]) -> tuple[Counter[str], Counter[str], int]:
    """Samples by the innermost function, and by every function of the adapter in the stack, of py-spy's raw format.

    A line is `outer;inner 12`: the stack, and how often it was seen. A function's lines are taken together.

    :return: by the innermost, by any of the adapter's, and all samples.
    """
    innermost: Counter[str] = Counter()
    anywhere: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        if not stack or not count.isdigit():
            continue
        functions = [_LINE.sub(")", function) for function in stack.split(";")]
        innermost[functions[-1]] += int(count)
        for function in {function for function in functions if _PACKAGE in function}:
            anywhere[function] += int(count)
        total += int(count)
    return innermost, anywhere, total


def profile(report: Report) -> int:
    """Profile the adapter under each kind of load and print the tables. Exit code as of a command."""
    program = Path(sys.prefix) / "bin" / "py-spy"
    if not program.is_file() or importlib.util.find_spec("uvloop") is None:
        print(f"py-spy is not installed in {sys.prefix}; run without --here", file=sys.stderr)
        return 1
    load_cores, cores = split_cores(sorted(os.sched_getaffinity(0)))
    directory = Path(tempfile.mkdtemp(prefix="bench-profile-"))
    target = next(target for target in TARGETS if target.name == "adapter")
    os.sched_setaffinity(0, load_cores)
    try:
        mock, mock_port = start_mock(directory / "mock", load_cores)
        try:
            place = Place(directory / "adapter", mock_port, target.endpoint(free_port()), cores, report)
            with started(target, place) as adapter:
                for measure in ROUND_MEASURES:
                    if measure.name in PROFILED:
                        report(measure.title)
                        print(_profiled(measure, Subject(place.endpoint, adapter, mock, QUICK), program, directory))
        finally:
            mock.stop()
    except Absent as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def _profiled(measure: Measure, subject: Subject, program: Path, directory: Path) -> str:
    running = subject.running
    assert running is not None
    long = dataclasses.replace(QUICK, loop_s=_SECONDS + 2.0, paced_s=_SECONDS + 2.0)
    output = directory / f"{measure.name}.txt"

    async def both() -> tuple[dict[str, object], tuple[int, int], tuple[int, int]]:
        # Measured once without py-spy, whose looks cost time, then again with it.
        before = processes.user_and_system_ticks(running.pids)
        figures = await measured(measure, dataclasses.replace(subject, effort=dataclasses.replace(long, loop_s=3.0)))
        after = processes.user_and_system_ticks(running.pids)
        load = asyncio.create_task(measured(measure, dataclasses.replace(subject, effort=long)))
        try:
            await asyncio.to_thread(_record, running, program, output)
        finally:
            await load
        return figures, before, after

    loop = new_event_loop()
    try:
        figures, before, after = loop.run_until_complete(both())
    finally:
        loop.close()
    innermost, anywhere, total = shares(output.read_text(encoding="utf-8").splitlines())
    share = processes.system_share(before, after)
    lines = [
        f"\n## {measure.title}",
        f"{figures['cpu_us']:.1f} µs per unit, {share:.0%} of it in the kernel; {total} looks with py-spy",
        "\nby the innermost function:",
        *_table(innermost, total),
        "\nby function of the adapter, with all that it calls:",
        *_table(anywhere, total),
    ]
    return "\n".join(lines)


def _record(running: Running, program: Path, output: Path) -> None:
    command = [
        str(program), "record", "--pid", str(running.pids[0]), "--format", "raw", "--rate", str(_RATE), "--native",
        "--duration", str(_SECONDS), "--output", str(output),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not output.is_file():
        raise Absent(f"py-spy: {done.stderr.strip()[-500:]}")


def _table(counts: Counter[str], total: int) -> list[str]:
    return [f"  {count / max(total, 1):6.1%}  {name}" for name, count in counts.most_common(_SHOWN)]
