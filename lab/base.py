"""The base system that hosts are clones of: built once per machine, keyed by what went in, rebuilt when stale.

<cache>/bases/lock                     held while building, choosing or removing
<cache>/bases/<key>.<time>/            a finished base; a build in progress is called `.build`
<cache>/bases/<key>.<time>.users/      one file per host that stands on it, holding the host's directory
"""

from __future__ import annotations

import hashlib
import shlex
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab import apt_archives, machine
from lab.errors import LabError
from lab.locking import locked
from lab.progress import Report
from lab.shell import run, tool_environment

RECIPE_VERSION = 1  # raise it when `_finish` or the mmdebstrap options change
# Older package lists name packages that the distribution's servers have since replaced.
MAX_AGE_S = 7 * 24 * 3600
PACKAGES = (
    *("systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "python3", "sudo"),
    *("iproute2", "iputils-ping", "procps", "netbase", "ca-certificates", "curl", "nftables"),
)


def base_key(distribution: machine.Distribution) -> str:
    """Twelve hex digits over everything that decides what the base contains."""
    digest = hashlib.sha256()
    for part in (
        str(RECIPE_VERSION),
        " ".join(PACKAGES),
        distribution.suite,
        distribution.sources,
        distribution.apt_settings,
    ):
        digest.update(part.encode() + b"\0")
    for path, content in sorted(distribution.files.items()):
        digest.update(path.encode() + b"\0" + hashlib.sha256(content).digest())
    return digest.hexdigest()[:12]


class Bases:
    """The finished bases in a cache directory."""

    def __init__(self, cache: Path, report: Report) -> None:
        self.cache = cache
        self.root = cache / "bases"
        # Root's alone: bases hold set-uid programs that nobody keeps up to date.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.report = report

    @contextmanager
    def claimed_for(self, host_directory: Path) -> Iterator[Path]:
        """The fresh base, built if need be, noted as used by the host before anyone can remove it."""
        with locked(self.root / "lock", "base system", self.report, timeout_s=1800):
            base = self._current()
            self._note_user(base, host_directory)
        yield base

    def ensure(self) -> Path:
        """The fresh base, built if need be."""
        with locked(self.root / "lock", "base system", self.report, timeout_s=1800):
            return self._current()

    def release(self, host_directory: Path) -> None:
        """The host is gone: forget that it used a base."""
        for note in self.root.glob(f"*.users/{_note_name(host_directory)}"):
            note.unlink(missing_ok=True)

    def _note_user(self, base: Path, host_directory: Path) -> None:
        users = base.with_name(base.name + ".users")
        users.mkdir(exist_ok=True)
        (users / _note_name(host_directory)).write_text(str(host_directory))

    def _finished(self) -> list[Path]:
        return sorted(
            (p for p in self.root.glob("*.*") if p.is_dir() and p.suffix[1:].isdigit()), key=lambda p: int(p.suffix[1:])
        )

    def _current(self) -> Path:
        distribution = machine.distribution()
        key = base_key(distribution)
        same = [p for p in self._finished() if p.name.startswith(f"{key}.")]
        if same and time.time() - int(same[-1].suffix[1:]) < MAX_AGE_S:
            return same[-1]
        self.clean_up()
        self.report(
            "base system: stale, building it anew" if same else "base system: building it (about a minute, once)"
        )
        try:
            built = self._build(distribution, key)
        except LabError:
            if not same:
                raise
            self.report(f"base system: could not be refreshed (see {self.root / 'build.log'}); the old one serves on")
            return same[-1]
        self.remove_unused(keep=built)
        return built

    def clean_up(self) -> None:
        """Remove what an interrupted build left; call it under the lock."""
        # Builds run under the lock, in namespaces that die with their builder: whatever is here is dead.
        if (self.root / ".build").exists():
            self.report("base system: removing an interrupted build")
            run("rm", "-rf", "--one-file-system", "--", str(self.root / ".build"), timeout_s=600)

    def remove_unused(self, keep: Path) -> None:
        """Remove bases that no host stands on, except the one to keep; call it under the lock."""
        for base in self._finished():
            users = base.with_name(base.name + ".users")
            for note in users.glob("*") if users.is_dir() else ():
                if not Path(note.read_text()).exists():
                    note.unlink()
            if base != keep and not (users.is_dir() and any(users.iterdir())):
                run("rm", "-rf", "--one-file-system", "--", str(base), str(users), timeout_s=600)
        apt_archives.prune(self.cache)

    def _build(self, distribution: machine.Distribution, key: str) -> Path:
        build = self.root / ".build"
        target = build / "root"
        build.mkdir(mode=0o755)
        sources = build / "lab.sources"
        sources.write_text(distribution.sources)
        self._mmdebstrap(distribution.suite, sources, target)
        _finish(target, distribution)
        apt_archives.harvest(target / "var/cache/apt/archives", self.cache)
        run("chroot", str(target), "apt-get", "clean")
        finished = self.root / f"{key}.{int(time.time())}"
        target.rename(finished)
        shutil.rmtree(build)
        self.report("base system: ready")
        return finished

    def _mmdebstrap(self, suite: str, sources: Path, target: Path) -> None:
        log = self.root / "build.log"
        archives, known = target / "var/cache/apt/archives", apt_archives.directory(self.cache)
        to = shlex.quote(str(archives))
        hook = f"mkdir -p {to}; cp -l {shlex.quote(str(known))}/*.deb {to}/"
        # In namespaces of its own, so that its mounts (/dev among them) and its processes end when it does;
        # and it ends when this process does, so that a kill -9 leaves no builder at work in `.build`.
        command = [
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("unshare", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child=KILL", "--"),
            *("mmdebstrap", "--mode=root", "--variant=minbase", "--format=directory", "--skip=cleanup/apt"),
            f"--include={','.join(PACKAGES)}",
            '--aptopt=Acquire::Languages "none"',
            '--aptopt=APT::Keep-Downloaded-Packages "true"',
            f"--setup-hook={hook} 2>/dev/null || true",
            *(suite, str(target), str(sources)),
        ]
        with log.open("w") as output:
            builder = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**tool_environment(), "DEBIAN_FRONTEND": "noninteractive"},
            )
            try:
                told = ""
                while builder.poll() is None:
                    time.sleep(0.5)
                    lines = [line for line in log.read_text(errors="replace").splitlines() if line.startswith("I: ")]
                    if lines and lines[-1] != told:
                        told = lines[-1]
                        self.report(f"base system: {told[3:]}")
            finally:
                if builder.poll() is None:
                    builder.kill()  # unshare takes the whole pid namespace with it
                builder.wait()
        if builder.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
            raise LabError("base system: mmdebstrap failed", tail, f"less {log}; then run the same command again")


def _note_name(host_directory: Path) -> str:
    return hashlib.sha256(str(host_directory).encode()).hexdigest()[:16]


def _finish(root: Path, distribution: machine.Distribution) -> None:
    """What every host has in common beyond its packages."""
    for path, content in distribution.files.items():
        copy = root / path.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(content)
    run("chroot", str(root), "update-ca-certificates")
    settings = 'Acquire::Languages "none";\nBinary::apt::APT::Keep-Downloaded-Packages "true";\n'
    (root / "etc/apt/apt.conf.d/99lab").write_text(
        settings + 'APT::Keep-Downloaded-Packages "true";\n' + distribution.apt_settings + "\n"
    )
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # each clone gets its own
    (root / "etc/default/locale").write_text("")
    (root / "etc/machine-id").write_text("")
    (root / "var/log/journal").mkdir(exist_ok=True)  # its presence makes the journal persistent (journald.conf(5))
    # apt's own timers would hold its lock at times of their choosing, under a deploy or a test.
    run("systemctl", f"--root={root}", "disable", "apt-daily.timer", "apt-daily-upgrade.timer")
