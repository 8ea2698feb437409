"""One cgroup per host in every hierarchy, on cgroup v1, v2 and the mix of both.

v1 / mixed: `<own>/<tag>` in each hierarchy; supervisor, nspawn and the guest live in it.
v2 alone:   `<own>/<tag>/labd` for the supervisor and `<own>/<tag>/host` for nspawn and the guest, because a v2
            cgroup that hands controllers down may hold no process itself (cgroup-v2.rst, "No Internal Process").
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids")


@dataclass(frozen=True)
class Hierarchy:
    """A mounted cgroup hierarchy and the directory in it that this process is in."""

    controllers: frozenset[str]  # v1 controllers, or {"name=systemd"}; empty for v2
    mount: Path
    own: Path

    @property
    def is_v2(self) -> bool:
        return not self.controllers


def parse(mountinfo: str, cgroup: str) -> list[Hierarchy]:
    """Read /proc/self/mountinfo and /proc/self/cgroup (cgroups(7), proc(5)); hierarchies not mounted are left out."""
    mounts: dict[frozenset[str], tuple[str, Path]] = {}
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        before, after = left.split(), right.split()
        root, point = before[3], Path(before[4])
        if after[0] == "cgroup2":
            mounts.setdefault(frozenset(), (root, point))
        elif after[0] == "cgroup":
            options = {o for o in after[2].split(",") if o not in ("rw", "ro", "xattr", "clone_children", "noprefix")}
            mounts.setdefault(frozenset(o for o in options if not o.startswith("release_agent")), (root, point))
    found = []
    for line in cgroup.splitlines():
        _, names, path = line.split(":", 2)
        controllers = frozenset(n for n in names.split(",") if n)
        if controllers not in mounts:
            continue
        root, point = mounts[controllers]
        inside = path.removeprefix(root) if root != "/" else path
        found.append(Hierarchy(controllers, point, point / inside.strip("/")))
    return found


def hierarchies() -> list[Hierarchy]:
    """The hierarchies this process can see."""
    return parse(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def is_v2_only(found: list[Hierarchy]) -> bool:
    """Whether v2 is all there is; a mixed machine keeps its controllers in v1."""
    return bool(found) and all(h.is_v2 for h in found)


def join(tag: str, memory_bytes: int | None) -> Path | None:
    """Put this process, the supervisor, into the host's cgroups.

    Returns the `cgroup.procs` that nspawn has to be written to; None where it inherits the right place (v1).

    Raises OSError when a cgroup cannot be made or a memory limit cannot be set.
    """
    found = hierarchies()
    if is_v2_only(found):
        return _join_v2(found[0], tag, memory_bytes)
    limited = memory_bytes is None
    for hierarchy in found:
        group = hierarchy.own / tag
        group.mkdir(parents=True, exist_ok=True)
        if "cpuset" in hierarchy.controllers:
            for name in ("cpuset.cpus", "cpuset.mems"):  # empty in a new v1 cpuset, which then takes no process
                (group / name).write_text((hierarchy.own / name).read_text())
        if "memory" in hierarchy.controllers and memory_bytes is not None:
            (group / "memory.limit_in_bytes").write_text(str(memory_bytes))
            limited = True
        (group / "cgroup.procs").write_text(str(os.getpid()))
    if not limited:
        raise OSError("no cgroup hierarchy has the memory controller")
    return None


def _join_v2(hierarchy: Hierarchy, tag: str, memory_bytes: int | None) -> Path:
    # In a systemd service of its own (Delegate=yes) the unit's cgroup is the host's; otherwise make one.
    in_own_unit = hierarchy.own.name == f"{tag}.service"
    group = hierarchy.own if in_own_unit else hierarchy.own / tag
    (group / "labd").mkdir(parents=True, exist_ok=True)
    (group / "host").mkdir(exist_ok=True)
    (group / "labd" / "cgroup.procs").write_text(str(os.getpid()))
    for level in (group,) if in_own_unit else (hierarchy.own, group):
        for controller in V2_CONTROLLERS:
            # Not every controller is handed to every cgroup; the guest enforces the limits of those it gets.
            with contextlib.suppress(OSError):
                (level / "cgroup.subtree_control").write_text(f"+{controller}")
    if memory_bytes is not None:
        (group / "host" / "memory.max").write_text(str(memory_bytes))
    return group / "host" / "cgroup.procs"


def find(tag_or_prefix: str) -> Iterator[Path]:
    """Cgroups, in any hierarchy, whose own name begins so; their children are not listed."""
    for hierarchy in hierarchies():
        for parent, names, _ in os.walk(hierarchy.mount):
            for name in [n for n in names if n.startswith(tag_or_prefix)]:
                names.remove(name)
                yield Path(parent, name)


def remove(tag: str, timeout_s: float = 10) -> list[Path]:
    """Remove the host's cgroups, children first; those of an ended process take a moment. Returns what would not go."""
    deadline = time.monotonic() + timeout_s
    while True:
        mine = [group for group in find(tag) if group.name in (tag, f"{tag}.service")]
        for group in mine:
            for parent, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(parent)
        left = [group for group in mine if group.exists()]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.05)
