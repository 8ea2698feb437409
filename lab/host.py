"""One host: what can be asked of it and done to it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lab import apt_archives, network, processes, ssh
from lab.clone import Spec
from lab.errors import HostNotReady, LabError, UnknownHost
from lab.listening import listening
from lab.naming import address
from lab.paths import HostPaths
from lab.shell import run

if TYPE_CHECKING:
    from lab.lab import Lab

# Where there is no SIGRTMIN (macOS) there is no lab either, and `doctor` must live to say so.
POWER_OFF = getattr(signal, "SIGRTMIN", 34) + 4  # systemd(1), SIGNALS: start poweroff.target
REBOOT = getattr(signal, "SIGRTMIN", 34) + 5  # start reboot.target


class Host:
    """A host of a lab, running or off. Holds no state of its own: every answer is read from the machine."""

    def __init__(self, lab: Lab, name: str) -> None:
        self.lab = lab
        self.name = name
        self.paths = HostPaths(lab.directory / "hosts" / name)
        self.tag = lab.names.tag(name)

    def __repr__(self) -> str:
        return f"<Host {self.name} {self.address}>"

    # What it is

    @property
    def spec(self) -> Spec:
        """Raises UnknownHost once the host is destroyed."""
        found = Spec.load(self.paths)
        if found is None:
            raise UnknownHost(f"host {self.name!r}", "this lab has no such host", f"python -m lab up {self.name}")
        return found

    @property
    def address(self) -> str:
        """The same from the first `up` until the lab is destroyed."""
        return address(self.lab.subnet_number, self.spec.octet)

    @property
    def private_key(self) -> Path:
        return self.lab.private_key

    @property
    def ssh_options(self) -> list[str]:
        """For ssh, scp and ssh-like tools: key, known host keys, no questions."""
        return ssh.options(self.lab.private_key, self.lab.known_hosts)

    @property
    def running(self) -> bool:
        """Whether the guest's PID 1 and the supervisor that would reboot it are alive."""
        found = processes.of_host(self.tag)
        return any(p.is_guest_init for p in found) and any(p.is_supervisor for p in found)

    @property
    def leader_pid(self) -> int | None:
        """The guest's PID 1 as this machine numbers it; None when it is off."""
        leader = self._leader()
        return leader.pid if leader is not None else None

    @property
    def cuts(self) -> tuple[str, ...]:
        """Directions in which its cable is cut: none, ("in",), ("out",) or both."""
        return network.cuts(self.lab.names).get(self.lab.names.veth(self.spec.octet), ())

    @property
    def state(self) -> str:
        """running, partitioned (in / out), off, or unsupervised (its supervisor was killed; `up` repairs it)."""
        if not self.running:
            return "unsupervised" if processes.of_host(self.tag) else "off"
        cuts = self.cuts
        if not cuts:
            return "running"
        return "partitioned" if len(cuts) == 2 else f"partitioned ({cuts[0]})"

    @property
    def uptime_s(self) -> float | None:
        """Seconds since it booted; None when it is off. (Inside, uptime is the machine's.)"""
        leader = self._leader()
        return processes.age_s(leader) if leader is not None else None

    @property
    def listening(self) -> list[str]:
        """Addresses of the TCP ports its services listen on, e.g. `22`, `127.0.0.1:8000`."""
        leader = self.leader_pid
        return listening(leader) if leader is not None else []

    def _leader(self) -> processes.Process | None:
        return next((p for p in processes.of_host(self.tag) if p.is_guest_init), None)

    # Talking to it

    def ssh(
        self, command: str | Sequence[str], check: bool = True, timeout: float = 120, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell line (or words) as root; text out. Raises CommandFailed if it fails and `check` is set."""
        return ssh.run_on(self.name, self.address, self.ssh_options, command, check, timeout, stdin)

    def copy_to(self, local: Path | str, remote: str) -> None:
        """Copy a file or a directory onto the host."""
        run("scp", "-q", "-r", *self.ssh_options, str(local), f"root@{self.address}:{remote}", timeout_s=600)

    def wait_ready(self, timeout_s: float = 120, settled: bool = False) -> None:
        """Wait until a command can be run over SSH; with `settled` until no unit is starting any more either.

        A unit that takes minutes to start (a model being loaded) keeps a host from settling, not from being ready.
        Raises HostNotReady with what was seen last.
        """
        deadline = time.monotonic() + timeout_s
        seen = "sshd did not greet"
        while ssh.wait_for_banner(self.address, deadline):
            wait = "--wait" if settled else ""
            left = max(1.0, deadline - time.monotonic())
            done = self.ssh(f"systemctl is-system-running {wait}", check=False, timeout=left)
            state = done.stdout.strip()
            if state in ("running", "degraded") or (state == "starting" and not settled):
                return
            seen = state or done.stderr.strip() or seen
            time.sleep(0.1)
        raise HostNotReady(
            f"{self.name} is not ready after {timeout_s:.0f} s",
            f"{seen} (it is {self.state})",
            f"python -m lab logs {self.name}",
        )

    # Doing things to it

    def down(self, timeout_s: float = 60) -> None:
        """Power it off in an orderly way; pulls the plug if it takes longer than `timeout_s`."""
        with self.lab.locked(f"down {self.name}"):
            self._power_off(timeout_s)

    def _power_off(self, timeout_s: float = 60) -> None:
        leader = self._leader()
        if leader is not None:
            processes.send(leader, POWER_OFF)
            if not processes.wait_gone(self.tag, timeout_s):
                self.lab.report(f"{self.name}: not off after {timeout_s:.0f} s, cutting its power")
        self._pull_the_plug()

    def cut(self) -> None:
        """A power cut: every process of the host vanishes at once. (Its page cache survives: no disk-loss test.)"""
        with self.lab.locked(f"cut {self.name}"):
            self._pull_the_plug()

    def _pull_the_plug(self) -> None:
        left = processes.kill_host(self.tag)
        if left:
            raise LabError(
                f"host {self.name}", f"processes do not die: {', '.join(str(p.pid) for p in left)}", "dmesg | tail"
            )
        self.share_packages()

    def share_packages(self) -> None:
        """Let hosts made later have the packages that this one downloaded."""
        apt_archives.harvest(self.paths.upper / "var/cache/apt/archives", self.lab.cache)

    def reboot(self, timeout_s: float = 120) -> None:
        """Reboot it in an orderly way and wait until it is ready again."""
        before = self._leader()
        if before is None:
            raise LabError(f"host {self.name}", "it is off", f"python -m lab up {self.name}")
        processes.send(before, REBOOT)
        deadline = time.monotonic() + timeout_s
        while (now := self._leader()) is None or now == before:
            if time.monotonic() > deadline:
                raise HostNotReady(
                    f"{self.name} did not reboot in {timeout_s:.0f} s",
                    f"it is {self.state}",
                    f"python -m lab cut {self.name}",
                )
            time.sleep(0.05)
        self.wait_ready(max(10.0, deadline - time.monotonic()))

    def partition(self, one_way: str | None = None) -> None:
        """Cut its cable: both ways, or only frames to it ("in") or from it ("out"). Lasts until `heal`."""
        if one_way not in (None, *network.DIRECTIONS):
            raise ValueError(f"one_way is 'in', 'out' or None, not {one_way!r}")
        with self.lab.locked(f"partition {self.name}"):
            network.cut(self.lab.names, self.spec.octet, one_way)

    def heal(self) -> None:
        """Undo `partition`."""
        with self.lab.locked(f"heal {self.name}"):
            network.mend(self.lab.names, self.spec.octet)

    def destroy(self) -> None:
        """Remove the host and everything of it; does nothing if there is none."""
        self.lab.destroy([self.name])
