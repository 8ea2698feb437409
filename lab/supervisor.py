"""The process behind one host: its power supply. Started by `up`, ends when the host is off.

    python -m lab.supervisor HOST_DIRECTORY TAG

It runs in a mount namespace of its own (see boot.py), so the overlay vanishes with the host, however the host ends.
It boots the guest, boots it again when the guest reboots, and ends when the guest powers off.
SIGTERM asks the guest to power off.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from lab import cgroups
from lab.clone import Spec
from lab.locking import try_lock
from lab.network import NETNS
from lab.paths import HostPaths
from lab.shell import run

REBOOT_STATUS = 133  # nspawn's exit status when the guest reboots under --keep-unit (nspawn.c, EXIT_FORCE_RESTART)
NSPAWN_RUNTIME = Path("/run/systemd/nspawn")
# nspawn mounts v1 controllers read-only; without this MemoryMax, TasksMax and CPUQuota are silently not enforced.
GUEST_INIT = "for d in /sys/fs/cgroup/*; do mount -o remount,bind,rw $d 2>/dev/null; done; exec /lib/systemd/systemd"


def nspawn_command(spec: Spec, paths: HostPaths, tag: str, v2_only: bool) -> list[str]:
    """The command line that boots the guest.

    Never all capabilities (CAP_SYS_TIME would let a guest set the machine's clock), never the machine's device nodes.
    """
    calls = ("add_key", "keyctl", *(("bpf",) if v2_only else ()))  # for Docker; on v2 device rules are BPF programs
    binds = []
    for bind in (f"{paths.docker}:/var/lib/docker", *spec.binds):
        read_only = bind.endswith(":ro")
        binds.append(f"--bind-ro={bind[:-3]}" if read_only else f"--bind={bind}")
    return [
        *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--link-journal=no", "--console=pipe"),
        *(f"--directory={paths.mountpoint}", f"--machine={tag}", f"--hostname={spec.name}"),
        f"--network-namespace-path={NETNS / tag}",
        *("--capability=CAP_NET_ADMIN", "--drop-capability=CAP_SYS_TIME"),
        *("--resolv-conf=off", "--timezone=off", "--kill-signal=SIGRTMIN+4"),
        *(f"--system-call-filter={call}" for call in calls),
        *binds,
        *("/bin/sh", "-c", GUEST_INIT),
    ]


def mount_root(spec: Spec, paths: HostPaths) -> None:
    """Mount the clone and nspawn's scratch directory in this process's own mount namespace."""
    NSPAWN_RUNTIME.mkdir(parents=True, exist_ok=True)
    run("mount", "-t", "tmpfs", "-o", "mode=755,size=16m", "tmpfs", str(NSPAWN_RUNTIME))
    layers = f"lowerdir={spec.base},upperdir={paths.upper},workdir={paths.work}"
    run("mount", "-t", "overlay", "overlay", "-o", layers, str(paths.mountpoint))


def supervise(spec: Spec, paths: HostPaths, tag: str) -> int:
    """Boot the guest until it powers off; returns nspawn's last exit status."""
    group = cgroups.join(tag, spec.memory_bytes)
    mount_root(spec, paths)
    command = nspawn_command(spec, paths, tag, cgroups.is_v2_only(cgroups.hierarchies()))
    environment = {"PATH": os.environ.get("PATH", ""), "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
    if group is not None:
        # v2: nspawn must not share a cgroup with this process; `sh` moves itself over, then becomes nspawn.
        command = ["/bin/sh", "-c", 'echo $$ > "$0" && exec "$@"', str(group), *command]
    powering_off = False
    guest: subprocess.Popen[bytes] | None = None

    def power_off(number: int, frame: FrameType | None) -> None:
        nonlocal powering_off
        powering_off = True
        if guest is not None and guest.poll() is None:
            guest.terminate()  # nspawn passes it on as --kill-signal

    signal.signal(signal.SIGTERM, power_off)
    while True:
        started = time.monotonic()
        with paths.console_log.open("ab") as console:
            guest = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=environment)
        log(f"nspawn {guest.pid} started")
        status = guest.wait()
        log(f"nspawn {guest.pid} ended with {status} after {time.monotonic() - started:.1f} s")
        if status != REBOOT_STATUS or powering_off:
            return status


def log(text: str) -> None:
    """A line for supervisor.log, which is this process's stderr."""
    print(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}", file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Run until the host is off; exit status 0 after an orderly power-off."""
    paths, tag = HostPaths(Path(arguments[0])), arguments[1]
    for number in (signal.SIGINT, signal.SIGHUP):  # a terminal that goes away does not pull the plug
        signal.signal(number, signal.SIG_IGN)
    if try_lock(paths.supervisor_lock) is None:
        log("another supervisor has this host; nothing to do")
        return 0
    spec = Spec.load(paths)
    if spec is None:
        log(f"{paths.spec} does not exist; nothing to boot")
        return 1
    try:
        return supervise(spec, paths, tag)
    except Exception as error:
        log(f"cannot run {spec.name}: {error}")
        raise


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
