"""The lab of one checkout: its hosts, its network, its directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from lab import boot, cgroups, network, paths, processes, ssh, subnets, support
from lab.base import Bases
from lab.clone import Clone, Spec
from lab.errors import LabError
from lab.host import Host
from lab.locking import locked
from lab.mirror import process as mirror
from lab.naming import Names, address, check_host_name, choose_octet, lab_id, subnet
from lab.progress import Report, to_stderr
from lab.shell import run


class Lab:
    """The hosts of one checkout.

    <state>/<id>/checkout, id_ed25519, known_hosts, addresses.json, hosts/<name>/ and the lock of those who change it.
    """

    def __init__(self, checkout: Path, suffix: str, report: Report) -> None:
        self.checkout = checkout
        self.state = paths.state_root()
        self.cache = paths.cache_root()
        self.names = Names(lab_id(checkout, suffix, self.state))
        self.directory = self.state / self.names.lab_id
        self.report = report

    @classmethod
    def for_checkout(cls, path: Path | str | None = None, suffix: str = "", report: Report | None = None) -> Lab:
        """The lab of a checkout (of the one this file is in, by default); `suffix` names a second lab beside it."""
        checkout = Path(path) if path is not None else Path(__file__).resolve().parent.parent
        return cls(checkout.resolve(), suffix, report if report is not None else to_stderr())

    # What there is

    @property
    def private_key(self) -> Path:
        return self.directory / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        """The hosts' true keys, so that ssh can check them as it would in production."""
        return self.directory / "known_hosts"

    @property
    def mirror_directory(self) -> Path:
        """The state of the mirrors that serve this lab's hosts; see lab.mirrored."""
        return self.directory / "mirror"

    @property
    def subnet_number(self) -> int:
        """The third octet of the lab's addresses; raises LabError before the first `up`."""
        number = subnets.claimed_by(self.state, self.names.lab_id)
        if number is None:
            raise LabError("this lab has no network", "no host was ever brought up", "python -m lab up gpu1")
        return number

    @property
    def has_network(self) -> bool:
        """Whether the lab has a subnet, and so a gateway."""
        return subnets.claimed_by(self.state, self.names.lab_id) is not None

    @property
    def subnet(self) -> str:
        return str(subnet(self.subnet_number))

    @property
    def gateway(self) -> str:
        """This machine's address in the lab; what it serves there is reached by the lab's hosts."""
        return address(self.subnet_number, 1)

    def host(self, name: str) -> Host:
        """The host with this name; raises UnknownHost if there is none."""
        host = Host(self, name)
        _ = host.spec
        return host

    def hosts(self) -> list[Host]:
        """Every host, running or off, by name."""
        root = self.directory / "hosts"
        names = sorted(p.name for p in root.iterdir()) if root.is_dir() else []
        return [host for host in (Host(self, name) for name in names) if Spec.load(host.paths) is not None]

    @contextmanager
    def locked(self, what: str) -> Iterator[None]:
        """Hold the lab for a change; a second `python -m lab` waits."""
        with locked(self.directory / "lock", what, self.report):
            yield

    # Changing it

    def up(
        self,
        names: Iterable[str],
        binds: Sequence[str] = (),
        memory_bytes: int | None = None,
        wait: bool = True,
        timeout_s: float = 180,
    ) -> list[Host]:
        """Bring up hosts, several at once; what is already as wanted is left alone, what is broken is repaired.

        `binds` (SOURCE[:DESTINATION[:ro]]) and `memory_bytes` hold for hosts made now, and as long as they exist.
        Raises CannotRun where the machine cannot host a lab, LabError or HostNotReady where a host does not come up.
        """
        hosts = [Host(self, check_host_name(name)) for name in dict.fromkeys(names)]
        support.check()
        with self.locked("up"):
            self.ensure_network()
            fresh = {host.name for host in hosts if self._up(host, tuple(binds), memory_bytes)}
        if wait:
            with ThreadPoolExecutor(max_workers=max(1, len(hosts))) as pool:
                for done in [pool.submit(self._wait, host, timeout_s, host.name in fresh) for host in hosts]:
                    done.result()
        return hosts

    def _wait(self, host: Host, timeout_s: float, fresh: bool) -> None:
        if "in" in (cuts := host.cuts) or "out" in cuts:
            self.report(f"{host.name}: running, cut off from the network (python -m lab heal {host.name})")
            return
        host.wait_ready(timeout_s, settled=fresh)
        self.report(f"{host.name}: ready at {host.address}")

    def ensure_network(self) -> None:
        """The lab's directory, key, subnet and bridge, so that something can be served at `gateway` before any host."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "hosts").mkdir(mode=0o700, exist_ok=True)  # disks of hosts: root's alone
        (self.directory / "checkout").write_text(f"{self.checkout}\n")
        ssh.ensure_key(self.private_key)
        number = subnets.claim(self.state, self.names, self.checkout, network.routed_elsewhere(self.names))
        network.ensure_bridge(self.names, number)

    def _up(self, host: Host, binds: tuple[str, ...], memory_bytes: int | None) -> bool:
        """Create, repair and boot one host as needed; returns whether it is new."""
        spec = Spec.load(host.paths)
        if spec is not None and host.running:
            if binds and binds != spec.binds:
                raise LabError(
                    f"host {host.name}", "it is running with other --bind options", f"python -m lab destroy {host.name}"
                )
            return False
        if processes.of_host(host.tag):
            self.report(f"{host.name}: has lost its supervisor; powering it off")
            host._power_off()
        fresh = spec is None
        if spec is None:
            spec = self._create(host, binds, memory_bytes)
        elif not Path(spec.base).is_dir():
            Clone(spec, host.paths)  # says what to do
        network.ensure_cable(self.names, host.name, self.subnet_number, spec.octet)
        public_key = ssh.ensure_key(self.private_key)
        host_key = Clone(spec, host.paths).prepare(public_key, self.gateway, self.cache)
        ssh.remember_host_key(self.known_hosts, host.address, host_key)
        self.report(f"{host.name}: booting")
        boot.start(host.name, host.paths, host.tag)
        return fresh

    def _create(self, host: Host, binds: tuple[str, ...], memory_bytes: int | None) -> Spec:
        bases = Bases(self.cache, self.report)
        if host.paths.root.exists():
            self.report(f"{host.name}: removing what an interrupted run left")
            run("rm", "-rf", "--one-file-system", "--", str(host.paths.root), timeout_s=600)
            bases.release(host.paths.root)
        host.paths.root.mkdir()
        for other in self.hosts():  # what they downloaded since, the new host need not
            other.share_packages()
        octet = self._octet(host.name)
        with bases.claimed_for(host.paths.root) as base:
            spec = Spec(host.name, octet, str(base), binds, memory_bytes)
            spec.save(host.paths)
        return spec

    def _octet(self, name: str) -> int:
        file = self.directory / "addresses.json"
        known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        octet = choose_octet(name, known, [host.name for host in self.hosts()])
        kept = {other: taken for other, taken in known.items() if taken != octet}
        part = file.with_suffix(".part")
        part.write_text(json.dumps({**kept, name: octet}))
        part.rename(file)
        return octet

    def destroy(self, names: Iterable[str]) -> None:
        """Remove hosts and everything of them, whatever state they are in; names that do not exist are fine."""
        with self.locked("destroy"):
            for name in names:
                self._destroy(Host(self, check_host_name(name)))

    def _destroy(self, host: Host) -> None:
        if not host.paths.root.exists() and not processes.of_host(host.tag):
            return
        spec = Spec.load(host.paths)
        host._pull_the_plug()
        network.remove_cable(self.names, host.name, spec.octet if spec is not None else None)
        left = cgroups.remove(host.tag)
        if left:
            self.report(f"{host.name}: cgroups that would not go: {', '.join(map(str, left))}")
        # The spec goes first: from here on an interrupted run leaves scraps, not a host.
        host.paths.spec.unlink(missing_ok=True)
        run("rm", "-rf", "--one-file-system", "--", str(host.paths.root), timeout_s=600)
        Bases(self.cache, self.report).release(host.paths.root)
        self.report(f"{host.name}: destroyed")

    def destroy_all(self) -> None:
        """Remove every host, the mirrors, the network and the lab's directory. The cache stays: it belongs to all checkouts."""
        mirror.stop(self.mirror_directory)
        with self.locked("destroy --all"):
            root = self.directory / "hosts"
            stray = {
                g.name.removesuffix(".service").removeprefix(self.names.prefix) for g in cgroups.find(self.names.prefix)
            }
            for name in sorted({p.name for p in root.iterdir()} | stray if root.is_dir() else stray):
                self._destroy(Host(self, name))
                cgroups.remove(self.names.tag(name))
            network.teardown(self.names)
            subnets.release(self.state, self.names.lab_id)
            shutil.rmtree(self.directory)
        for directory in (self.state / "subnets", self.state):
            if directory.is_dir() and not any(directory.iterdir()):
                directory.rmdir()
