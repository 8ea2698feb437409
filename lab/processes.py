"""Which processes belong to a host: those in its cgroup, and no others.

The kernel's record is the only one. There is no pid file that could go stale, so a crash, a kill -9 or a restart of
the machine leaves nothing to misread, and a signal can reach a process of this lab only.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

SUPERVISOR_MODULE = "lab.supervisor"


@dataclass(frozen=True)
class Process:
    """A live process; pid and start time together are never used twice while the machine is up."""

    pid: int
    started_ticks: int
    namespace_pids: tuple[int, ...]  # its pid in each nested pid namespace, ours first
    argv: tuple[str, ...]

    @property
    def is_guest_init(self) -> bool:
        """PID 1 of the guest: one namespace below us (a container inside the guest is two below)."""
        return len(self.namespace_pids) == 2 and self.namespace_pids[1] == 1

    @property
    def is_supervisor(self) -> bool:
        return len(self.namespace_pids) == 1 and SUPERVISOR_MODULE in self.argv

    @property
    def is_on_machine(self) -> bool:
        """One of the machine's own processes (supervisor, nspawn) rather than the guest's."""
        return len(self.namespace_pids) == 1


def belongs_to(cgroup_text: str, tag: str) -> bool:
    """Whether /proc/PID/cgroup names a cgroup of `tag`, or of the systemd service `tag`.service."""
    parts = {part for line in cgroup_text.splitlines() for part in line.partition(":")[2].partition(":")[2].split("/")}
    return tag in parts or f"{tag}.service" in parts


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time in ticks from /proc/PID/stat; the name in brackets may hold anything (proc(5))."""
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[19])


def read(pid: int) -> Process | None:
    """The live process with this pid; None if it is gone or a zombie."""
    root = Path("/proc") / str(pid)
    try:
        state, started = parse_stat((root / "stat").read_text(errors="replace"))
        if state in "ZX":
            return None
        status = (root / "status").read_text(errors="replace")
        argv = (root / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except (OSError, IndexError):
        return None
    spids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [str(pid)])
    return Process(pid, started, tuple(int(p) for p in spids), tuple(argv))


def of_host(tag: str) -> list[Process]:
    """Every live process of the host, by pid."""
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            text = Path("/proc", entry, "cgroup").read_text()
        except OSError:
            continue
        if belongs_to(text, tag) and (process := read(int(entry))) is not None:
            found.append(process)
    return sorted(found, key=lambda p: p.pid)


def send(process: Process, number: int) -> bool:
    """Signal exactly this process; False if it is gone, even if its pid lives on as another."""
    try:
        handle = os.pidfd_open(process.pid)
    except OSError:
        return False
    try:
        # The handle pins whatever has the pid now; only then is it compared, so the two cannot come apart.
        now = read(process.pid)
        if now is None or now.started_ticks != process.started_ticks:
            return False
        signal.pidfd_send_signal(handle, number)
    except OSError:
        return False
    finally:
        os.close(handle)
    return True


def kill_host(tag: str, timeout_s: float = 30) -> list[Process]:
    """SIGKILL all that is left of the host, the supervisor first so that it boots nothing again.

    Returns what is still alive after `timeout_s` (empty: all gone).
    """
    deadline = time.monotonic() + timeout_s
    while (left := of_host(tag)) and time.monotonic() < deadline:
        for process in sorted(left, key=lambda p: (not p.is_supervisor, not p.is_on_machine)):
            send(process, signal.SIGKILL)
        time.sleep(0.02)
    return left


def wait_gone(tag: str, timeout_s: float) -> bool:
    """Wait until no process of the host is left; False if some still are."""
    deadline = time.monotonic() + timeout_s
    while of_host(tag):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def age_s(process: Process) -> float:
    """Seconds since the process started."""
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, uptime - process.started_ticks / os.sysconf("SC_CLK_TCK"))
