"""Whether this machine can host a lab; if not, why, and what to do about it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from lab import cgroups, paths
from lab.errors import CannotRun, LabError
from lab.shell import TOOL_PATH, run

# tool -> the Debian package that has it
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "systemd-nspawn": "systemd-container",
    "nft": "nftables",
    "ip": "iproute2",
    "ssh": "openssh-client",
    "ps": "procps",
    "apt-config": "apt",
    "unshare": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
}
DISK_FREE_BYTES = 3 << 30  # a base (0.3 GB), its build beside it, and a little for each host
MEMORY_FREE_BYTES = 512 << 20
Failure = tuple[str, str]  # cause and remedy
ELSEWHERE = "run it on the machine itself or in a virtual machine"


def missing_packages(path: str) -> list[str]:
    """Debian packages whose tools are not on this search path."""
    return sorted({package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None})


def existing_parent(path: Path) -> Path:
    """The path itself or the nearest directory above it that exists."""
    while not path.exists():
        path = path.parent
    return path


def memory_available_bytes(meminfo: str) -> int:
    """MemAvailable of /proc/meminfo (proc(5): in KiB)."""
    return next(int(line.split()[1]) * 1024 for line in meminfo.splitlines() if line.startswith("MemAvailable:"))


def check() -> None:
    """Raise CannotRun with cause and remedy unless this machine can host a lab."""
    failure = _failure()
    if failure is not None:
        raise CannotRun("this machine cannot host a lab", *failure)


def reason_not_to_run() -> str | None:
    """Why this machine cannot host a lab, remedy included; None if it can. Tests skip with it."""
    failure = _failure()
    return None if failure is None else f"{failure[0]}; {failure[1]}"


def _failure() -> Failure | None:
    """The first thing that is missing."""
    return (
        user_failure(sys.platform, os.geteuid())
        or tools_failure(f"{os.environ.get('PATH', '')}:{TOOL_PATH}")
        or _kernel_failure()
        or room_failure(DISK_FREE_BYTES, MEMORY_FREE_BYTES)
    )


def user_failure(platform: str, uid: int) -> Failure | None:
    """Not Linux, or not root."""
    if not platform.startswith("linux"):
        return f"it needs Linux, and this is {platform}", "run it on a Linux machine or in a virtual machine"
    if uid != 0:
        return "it makes namespaces and a bridge, which only root may", "sudo python3 -m lab doctor"
    return None


def tools_failure(path: str) -> Failure | None:
    """Tools that are not on this search path, and the command that installs them."""
    missing = missing_packages(path)
    if not missing:
        return None
    command = f"apt-get update && apt-get install -y --no-install-recommends {' '.join(missing)}"
    return f"packages are missing: {', '.join(missing)}", command


def _kernel_failure() -> Failure | None:
    found = cgroups.hierarchies()
    if not found:
        return "no cgroup hierarchy is mounted", "mount -t cgroup2 none /sys/fs/cgroup"
    if any(not os.access(h.own, os.W_OK) for h in found):
        return (
            "its cgroups are read-only (an unprivileged container?)",
            ELSEWHERE,
        )
    if (
        "overlay" not in Path("/proc/filesystems").read_text()
        and run("modprobe", "overlay", check=False).returncode != 0
    ):
        return "its kernel has no overlayfs", "use a kernel with CONFIG_OVERLAY_FS"
    for argv, what in (
        (("unshare", "--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "true"), "namespaces"),
        (("nft", "list", "tables"), "nftables"),
    ):
        try:
            run(*argv)
        except LabError as error:
            return f"it does not allow {what}: {error.cause}", ELSEWHERE
    return None


def room_failure(disk_bytes: int, memory_bytes: int) -> Failure | None:
    """Too little free disk or memory, or a disk that cannot hold a clone."""
    for root, variable in ((paths.state_root(), "LLM_LAB_STATE"), (paths.cache_root(), "LLM_LAB_CACHE")):
        parent = existing_parent(root)
        free = shutil.disk_usage(parent).free
        if free < disk_bytes:
            return (
                f"{root} has {free >> 20} MiB free, {disk_bytes >> 20} are needed",
                f"make room, or set {variable}",
            )
        kind = run("stat", "-f", "-c", "%T", str(parent)).stdout.strip()
        if kind == "overlayfs":
            return (
                f"{root} is itself on overlayfs, which cannot hold a host's disk",
                f"set {variable} to a directory on a disk",
            )
    free = memory_available_bytes(Path("/proc/meminfo").read_text())
    if free < memory_bytes:
        return (
            f"{free >> 20} MiB of memory are free, {memory_bytes >> 20} are needed",
            "end something, and run it again",
        )
    return None
