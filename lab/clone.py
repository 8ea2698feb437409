"""One host's disk: a clone of the base (overlayfs), and what makes it this host. Written only while the host is off."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import apt_archives, machine, ssh
from lab.errors import LabError
from lab.paths import HostPaths

HOST_KEY = "etc/ssh/ssh_host_ed25519_key"


@dataclass(frozen=True)
class Spec:
    """What a host is; kept in its directory until it is destroyed."""

    name: str
    octet: int
    base: str  # directory of the base it is a clone of
    binds: tuple[str, ...] = ()  # SOURCE[:DESTINATION[:ro]]
    memory_bytes: int | None = None

    def save(self, paths: HostPaths) -> None:
        """Write it in one step, so that it is whole or absent."""
        part = paths.spec.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1))
        part.rename(paths.spec)

    @staticmethod
    def load(paths: HostPaths) -> Spec | None:
        """The host's spec; None where there is no (whole) host."""
        try:
            found = json.loads(paths.spec.read_text())
        except (FileNotFoundError, NotADirectoryError):
            return None
        return Spec(**{**found, "binds": tuple(found["binds"])})


class Clone:
    """Writes into the upper layer, giving each directory the mode and owner it has in the base."""

    def __init__(self, spec: Spec, paths: HostPaths) -> None:
        self.base = Path(spec.base)
        self.spec = spec
        self.paths = paths
        if not (self.base / "usr").is_dir():
            raise LabError(
                f"host {spec.name}",
                f"its base system {self.base} is gone (was the cache removed?)",
                f"python -m lab destroy {spec.name} && python -m lab up {spec.name}",
            )

    def directory(self, path: str) -> Path:
        """The directory in the upper layer, made as a copy of the base's (without its content)."""
        upper, lower = self.paths.upper, self.base
        for part in Path(path).parts:
            upper, lower = upper / part, lower / part
            if not upper.is_dir():
                upper.mkdir()
                if lower.is_dir():
                    shutil.copystat(lower, upper)
                    os.chown(upper, lower.stat().st_uid, lower.stat().st_gid)
        return upper

    def write(self, path: str, content: str, mode: int = 0o644) -> None:
        """Write a file in one step; rename also replaces the mark that overlayfs leaves for a deleted file."""
        target = self.directory(str(Path(path).parent)) / Path(path).name
        part = target.with_name(f".{target.name}.lab")
        part.unlink(missing_ok=True)
        part.touch(mode=0o600)
        part.write_text(content)
        part.chmod(mode)
        part.rename(target)

    def has(self, path: str) -> bool:
        return (self.paths.upper / path).is_file()

    def prepare(self, authorized_key: str, gateway: str, cache: Path) -> str:
        """Everything a boot needs; safe to repeat. Returns the host's public ssh key."""
        for needed in (self.paths.upper, self.paths.work, self.paths.mountpoint, self.paths.docker):
            needed.mkdir(mode=0o755, exist_ok=True)
        name = self.spec.name
        if not self.has("etc/hostname"):
            self.write(
                "etc/hosts", f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"
            )
            self.write("etc/hostname", f"{name}\n")
        if not self.has("root/.ssh/authorized_keys"):
            self.directory("root/.ssh").chmod(0o700)
            self.write("root/.ssh/authorized_keys", authorized_key, 0o600)
        # These follow the machine at each boot, as DHCP would do it: a laptop changes networks.
        self.write("etc/resolv.conf", machine.resolv_conf())
        self.write("etc/apt/apt.conf.d/98lab-proxy", machine.apt_proxy_settings(gateway))
        apt_archives.seed(cache, self.directory("var/cache/apt/archives"))
        return self._host_key()

    def _host_key(self) -> str:
        if not (self.has(HOST_KEY) and self.has(f"{HOST_KEY}.pub")):
            private, public = ssh.new_key(f"root@{self.spec.name}")
            (self.paths.upper / HOST_KEY).unlink(missing_ok=True)
            self.write(f"{HOST_KEY}.pub", public)
            self.write(HOST_KEY, private, 0o600)
        return (self.paths.upper / f"{HOST_KEY}.pub").read_text()
