"""Processor time and memory of other processes, from the kernel."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable
from pathlib import Path


def cpu_ns(pid: int) -> int:
    """Processor time of all threads of a process, ended ones included, in nanoseconds.

    The process's own clock (clock_getcpuclockid(3): the complement of the pid above three bits, of which CPUCLOCK_SCHED
    is 2) counts what the scheduler counts; /proc/PID/stat counts in steps of 10 ms.
    """
    return time.clock_gettime_ns((~pid << 3) | 2)


def tree(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text(errors="replace")
            except OSError:
                continue
            children.setdefault(int(stat.rpartition(")")[2].split()[1]), []).append(int(entry))
    found, left = [], [pid]
    while left:
        one = left.pop()
        found.append(one)
        left += children.get(one, [])
    return sorted(found)


def system_share(before: tuple[int, int], after: tuple[int, int]) -> float:
    """The share of processor time spent in the kernel, between two readings of `user_and_system_ticks`."""
    user, system = after[0] - before[0], after[1] - before[1]
    return system / (user + system) if user + system else 0.0


def user_and_system_ticks(pids: Iterable[int]) -> tuple[int, int]:
    """Processor time in the program and in the kernel, in clock ticks: coarse, good for shares."""
    user = system = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        user, system = user + int(fields[11]), system + int(fields[12])
    return user, system


def memory_bytes(pids: Iterable[int]) -> int:
    """Resident memory; pages that several processes share are counted once (proportional set size)."""
    return sum(pss_bytes(Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")) for pid in pids)


def pss_bytes(smaps_rollup: str) -> int:
    """`Pss` of a /proc/PID/smaps_rollup."""
    found = re.search(r"^Pss: +(\d+) kB$", smaps_rollup, re.MULTILINE)
    if found is None:
        raise ValueError("smaps_rollup has no Pss")
    return int(found.group(1)) * 1024


def machine_ticks() -> tuple[int, int]:
    """Clock ticks of all cores: not idle, and stolen by the hypervisor (proc(5), /proc/stat)."""
    fields = [int(text) for text in Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    return user + nice + system + irq + softirq, steal
