"""Starting a host's supervisor: detached from whoever typed `up`, in a mount namespace of its own."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from lab import processes
from lab.errors import LabError
from lab.paths import HostPaths
from lab.shell import run, tool_environment


def has_systemd() -> bool:
    """Whether systemd runs this machine (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def supervisor_command(paths: HostPaths, tag: str) -> list[str]:
    """The supervisor in its own mount namespace; what it mounts is seen by the guest only and ends with it."""
    return [
        *("unshare", "--mount", "--propagation=private", "--"),
        *(sys.executable, "-m", processes.SUPERVISOR_MODULE, str(paths.root), tag),
    ]


def systemd_command(paths: HostPaths, tag: str, python_path: str) -> list[str]:
    """The same as a transient service: its cgroup is delegated to us, and logging out does not end it."""
    log = f"append:{paths.supervisor_log}"
    properties = (
        "Delegate=yes",
        "KillMode=mixed",
        "TimeoutStopSec=60",
        f"StandardOutput={log}",
        f"StandardError={log}",
    )
    return [
        *("systemd-run", "--quiet", "--collect", f"--unit={tag}.service", f"--setenv=PYTHONPATH={python_path}"),
        *(f"--setenv=PATH={tool_environment()['PATH']}", *(f"--property={p}" for p in properties), "--"),
        *supervisor_command(paths, tag),
    ]


def start(name: str, paths: HostPaths, tag: str, timeout_s: float = 60) -> None:
    """Start the supervisor and wait until the guest's PID 1 runs. Raises LabError with the supervisor's last words."""
    python_path = str(Path(__file__).resolve().parent.parent)
    if has_systemd():
        run("systemctl", "reset-failed", f"{tag}.service", check=False)
        run(*systemd_command(paths, tag, python_path))
        alive: int | None = None
    else:
        alive = _start_detached(paths, tag, python_path)
    try:
        deadline = time.monotonic() + timeout_s
        while not any(p.is_guest_init for p in processes.of_host(tag)):
            if (alive is not None and _has_ended(alive)) or time.monotonic() > deadline:
                raise LabError(f"host {name} does not boot", last_words(paths), f"python -m lab logs {name}")
            time.sleep(0.02)
    finally:
        if alive is not None:
            os.close(alive)


def _start_detached(paths: HostPaths, tag: str, python_path: str) -> int:
    """Start the supervisor as nobody's child; returns a descriptor that reads as ended once it is dead."""
    reading, writing = os.pipe()
    with paths.supervisor_log.open("ab") as log:
        try:
            subprocess.run(
                ["setsid", "--fork", *supervisor_command(paths, tag)],
                stdin=subprocess.DEVNULL,
                stdout=writing,  # nothing is ever written: held open by the supervisor, and by it alone
                stderr=log,
                cwd="/",
                env={**tool_environment(), "PYTHONPATH": python_path},
                check=True,
            )
        finally:
            os.close(writing)
    return reading


def _has_ended(alive: int) -> bool:
    return bool(select.select([alive], [], [], 0)[0])


def last_words(paths: HostPaths) -> str:
    """The end of the supervisor's and of the guest's log."""
    lines = []
    for log in (paths.supervisor_log, paths.console_log):
        if log.exists():
            lines += log.read_text(errors="replace").splitlines()[-8:]
    return "\n".join(lines) or "its supervisor said nothing"
