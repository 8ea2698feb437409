"""Hosts that a deploy has been to: what they answer when everything around the card is as it should be, and what has drifted since.

The answers are those of a lab host after a deploy, as far as the @fake connector can play them: by a piece of the command. Not
played, and so planned: the base, software in directories of its own, units. A second run without a change is proved in the lab.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from posixpath import dirname
from typing import Any

from roles.apt_repositories import cuda_fingerprint, cuda_repository
from roles.docker import TOOLKIT_PACKAGES, daemon_settings, repository_key
from roles.docker.operations import DAEMON_JSON
from roles.docker_packages import wanted_packages
from roles.layout import LIBEXEC, digest
from roles.nvidia import FABRIC, FILES
from roles.nvidia.plan import driver_plan
from roles.pins import ROOT, pins
from roles.site import site_from
from tests.plan.fake_hosts import BOOKWORM, fake_host
from tests.plan.fake_machines import DRIVER, ONE_H100, Machine

PROGRAMS = (
    "roles/nvidia/host/install-driver", "roles/gpu_sharing/host/resolve-gpus", "roles/gpu_sharing/host/make-room",
    "roles/docker/host/install-docker", "roles/docker/host/configure-daemon", "roles/container_cards/host/container-cards",
)  # fmt: skip
SITE = site_from([{}], {})
DOCKERS = wanted_packages("docker", "debian", "12")
PLAN = driver_plan("debian", [], SITE.nvidia)  # without a card in the list: a new one, open modules
DEPENDENCIES = ("libcuda1", "libnvidia-ml1", "nvidia-smi")
DRIVERS = {name: f"{DRIVER}-1" for name in (*PLAN.packages, PLAN.pinning, *DEPENDENCIES)}
HELD = tuple(DRIVERS) + TOOLKIT_PACKAGES
DAEMON: dict[str, Any] = daemon_settings(SITE.docker, with_cards=True)


def deployed(
    drivers: Mapping[str, str] = DRIVERS,
    held: tuple[str, ...] = HELD,
    loaded: str = DRIVER,
    daemon: Mapping[str, Any] = DAEMON,
    changed: Mapping[str, str] | None = None,
    machine: Machine | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """A Debian host with an H100 after a deploy.

    :param changed: by path, the text of files that are not as the roles have written them; "" for one that is gone.
    """
    host = fake_host(BOOKWORM, machine=machine or ONE_H100.with_driver(loaded), **settings)
    programs = {f"{LIBEXEC}/{name.rsplit('/', 1)[1]}": (ROOT / name).read_text(encoding="utf-8") for name in PROGRAMS}
    texts = {path: text for path, text in FILES.items() if path != FABRIC}
    files = {**texts, **programs, **(changed or {})}
    host["fake_responses"] |= {
        **facts_of_packages(drivers, held, loaded),
        **facts_of_repositories(),
        **{part: said for path, text in files.items() if text for part, said in facts_of_file(path, text).items()},
        **dict(fact_of_directory(dirname(path)) for path in files),
        f"cat {DAEMON_JSON}": json.dumps(dict(daemon)),
        "SubState nvidia-persistenced.service": "Id=nvidia-persistenced.service\nSubState=running",
        "UnitFileState nvidia-persistenced.service": "Id=nvidia-persistenced.service\nUnitFileState=enabled",
        "is-active -q docker.service": "yes",
        "resolve-gpus --wanted": "yes",
        "container-cards cdi --check": "yes",
        "container-cards prove --check": "yes",
    }
    return host


def facts_of_packages(drivers: Mapping[str, str], held: tuple[str, ...], loaded: str) -> dict[str, str]:
    """What dpkg and apt-mark say, and the kernel of its driver."""
    toolkit = dict.fromkeys(TOOLKIT_PACKAGES, pins().nvidia.toolkit)
    everything = {"gpg": "2.2.40-1", "linux-headers-amd64": "6.1.153-1", **toolkit, **drivers}
    module = drivers[PLAN.packages[0]]
    return {
        "echo loaded": f"loaded {loaded}\ninstalled {module} installed",
        "'firmware-nvidia-*'": "\n".join(f"installed {name} {version}" for name, version in drivers.items()),
        f"Version}}\\n' {DOCKERS[0]}": "\n".join(f"installed {name} 5:28.0.1-1" for name in DOCKERS),
        "apt-mark showhold": "\n".join(held),
        "dpkg -l": "\n".join(f"ii  {name}  {version}  amd64  words" for name, version in everything.items()),
    }


def facts_of_repositories() -> dict[str, str]:
    """The stamps in the sources that apt has."""
    cuda = cuda_fingerprint(SITE, "debian", "12") or ""
    toolkit = f"{SITE.mirrors.container_toolkit.rstrip('/')}/stable/deb/amd64"
    docker = f"{SITE.mirrors.docker.rstrip('/')}/debian"
    stamps = {
        "nvidia-cuda": digest(cuda_repository(SITE, "debian", "12"), "/", "", cuda),
        "nvidia-container-toolkit": digest(toolkit, "/", "", pins().nvidia.toolkit_fingerprint),
        "docker": digest(docker, "bookworm", "stable", repository_key(SITE.docker)[0]),
    }
    return {f"test -s /etc/apt/keyrings/{name}.gpg": stamp for name, stamp in stamps.items()}


def fact_of_directory(path: str) -> tuple[str, str]:
    """What stat says."""
    return f"%N' {path} ", f"user=root group=root mode=drwxr-xr-x atime=1 mtime=1 ctime=1 size=4096 '{path}'"


def facts_of_file(path: str, text: str) -> dict[str, str]:
    """What stat and sha1sum say."""
    mode = "-rwxr-xr-x" if path.startswith(LIBEXEC) else "-rw-r--r--"
    stat = f"user=root group=root mode={mode} atime=1 mtime=1 ctime=1 size={len(text)} '{path}'"
    return {f"%N' {path} ": stat, f"sha1sum {path} ": f"{hashlib.sha1(text.encode()).hexdigest()}  {path}"}
