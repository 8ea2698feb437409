"""What is known about the machine, the programs and the code at the time of a run."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

PACKAGES = ("fastapi", "starlette", "pydantic", "uvicorn", "httpx", "litellm", "uvloop", "httptools", "msgspec")
ROOT = Path(__file__).resolve().parent.parent


def cpu_model(cpuinfo: str) -> str:
    """The processor's name in /proc/cpuinfo."""
    found = re.search(r"^(?:model name|Hardware)\s*: (.+)$", cpuinfo, re.MULTILINE)
    return found.group(1).strip() if found else platform.machine()


def is_virtual(cpuinfo: str) -> bool:
    """Whether the processor says that a hypervisor is beneath it."""
    return re.search(r"^flags\s*:.*\bhypervisor\b", cpuinfo, re.MULTILINE) is not None


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of what is installed beside this program."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def nginx_version(program: str) -> str:
    """What `nginx -v` says, empty if it says nothing."""
    try:
        done = subprocess.run([program, "-v"], capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stderr.strip().removeprefix("nginx version: ")


def commit() -> str:
    """The checkout's commit, with a mark if the adapter or the benchmark differ from it; empty without git."""
    try:
        head = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        changed = subprocess.run(
            ["git", "status", "--porcelain", "--", "files/adapter/src", "bench/*.py"],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    except OSError:
        return ""
    return head.stdout.strip() + (" with changes" if changed.stdout.strip() else "")


def machine(load: Sequence[float]) -> dict[str, Any]:
    """This machine. :param load: its load averages before the run."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    memory = re.search(r"^MemTotal: +(\d+) kB", meminfo, re.MULTILINE)
    return {
        "cpu": cpu_model(cpuinfo),
        "cores": os.cpu_count(),
        "is_virtual": is_virtual(cpuinfo),
        "memory_gib": round(int(memory.group(1)) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "load_average_before": list(load),
    }


def gather(load_cores: Sequence[int], proxy_cores: Sequence[int], nginx: str) -> dict[str, Any]:
    """Everything that a reader of the results may want to know."""
    return {
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": {
            **machine(os.getloadavg()),
            "cores_of_load_and_upstream": list(load_cores),
            "cores_of_the_target": list(proxy_cores),
        },
        "versions": {"python": platform.python_version(), **versions(), "nginx": nginx_version(nginx) if nginx else ""},
    }


def machine_label(cpu: str, cores: int) -> str:
    """A short name for a file: `amd-epyc-2c`."""
    words = re.sub(r"\(.*?\)|processor|cpu|@.*|\b\d+-core\b", " ", cpu.lower())
    return "-".join([*re.findall(r"[a-z0-9]+", words)[:3], f"{cores}c"])
