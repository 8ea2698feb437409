"""What the hosts of an inventory fetch, from their settings alone. Pure.

A host is not looked at: the machine that makes a bundle may not reach it. Where a deploy would decide by the host – which kernel
modules its cards want, its kernel's flavour, whether its cards can run vLLM – the bundle has what each answer needs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from roles.apt_repositories import (
    cuda_distribution,
    cuda_fingerprint,
    cuda_key,
    cuda_repository,
    docker_repository,
    toolkit_fingerprint,
    toolkit_key,
    toolkit_repository,
)
from roles.base import PACKAGES
from roles.cards import NEWEST_OPEN_TO_ALL, Kind
from roles.distribution import COMPONENTS, KEYRINGS, archives
from roles.docker import repository_key, toolkit_packages
from roles.docker_packages import ENGINE, compose_package, wanted_packages
from roles.driver_packages import compute_packages, kernel_headers, pinning
from roles.layout import GrafanaArchive, adapter_lock, grafana_archive, ollama_version, snapshots, vllm_build
from roles.mirrors import MirrorSettings
from roles.monitoring_packages import packages as monitoring_packages
from roles.nvidia.plan import DriverPlan
from roles.nvidia.settings import NvidiaSettings
from roles.ollama_archive import wanted_sha256
from roles.pins import LOCKS, ROOT
from roles.secret_sources import SecretSource
from roles.site import Site
from roles.vllm import distribution_packages

Thing = TypeVar("Thing")
FLAVOURS = {"debian": ("amd64", "cloud-amd64"), "ubuntu": ("generic", "virtual")}
ARCHITECTURE = "amd64"


@dataclass(frozen=True)
class System:
    """A distribution's release, as os-release names it."""

    os: str
    version: str
    codename: str

    @property
    def name(self) -> str:
        """Such as "debian-12"."""
        return f"{self.os}-{self.version}"


@dataclass(frozen=True)
class Key:
    """The public key of a vendor's repository, where a host asks for it."""

    path: str
    url: str
    fingerprint: str
    sha256: str


@dataclass(frozen=True)
class Repository:
    """An apt repository and its folder in the bundle. uri: "" where this machine's own apt knows it. suite: "/" is a flat one."""

    folder: str
    uri: str
    suite: str
    components: tuple[str, ...]
    keyring: str = ""
    key: Key | None = None


@dataclass(frozen=True)
class Group:
    """Packages that a deploy installs together, as apt is asked for them (`name` or `name=version`).

    engine, version: of Docker, those whose version is its own, and which one; None for the newest.
    """

    about: str
    packages: tuple[str, ...]
    recommends: bool = False
    engine: tuple[str, ...] = ()
    version: str | None = None


@dataclass(frozen=True)
class Lock:
    """Wheels of a lock file, for an interpreter: "3.12", or "" for the system's own."""

    about: str
    text: str
    python: str


@dataclass(frozen=True)
class HubModel:
    """A revision of a model. token: where this machine has the one for it."""

    repository: str
    revision: str
    token: SecretSource


@dataclass(frozen=True)
class OllamaRelease:
    """sha256: of the archive; "" takes the release's own list."""

    version: str
    sha256: str


@dataclass(frozen=True)
class Needs:
    """Everything, each thing once, in the order in which a deploy comes to it."""

    system: System
    mirrors: MirrorSettings
    hosts: tuple[str, ...]
    repositories: tuple[Repository, ...]
    groups: tuple[Group, ...]
    drivers: tuple[DriverPlan, ...]
    locks: tuple[Lock, ...]
    models: tuple[HubModel, ...]
    ollama: tuple[OllamaRelease, ...]
    ollama_models: tuple[str, ...]
    grafana: tuple[GrafanaArchive, ...] = ()


def needs(
    sites: Mapping[str, Site],
    system: System,
    mirrors: MirrorSettings,
    controller: bool = False,
    kernels: Sequence[str] = (),
) -> Needs:
    """What these hosts need.

    :param sites: settings by host.
    :param mirrors: where to fetch from, whatever the settings say.
    :param controller: with the wheels of this project's own environment (`make venv`).
    :param kernels: releases that the hosts run (`uname -r`), for flavours that are not the usual ones.
    """
    each = [site.model_copy(update={"mirrors": mirrors}) for site in sites.values()]
    return Needs(
        system=system,
        mirrors=mirrors,
        hosts=tuple(sites),
        repositories=_once(one for site in each for one in repositories(site, system)),
        groups=_once(one for site in each for one in groups(site, system, kernels)),
        drivers=_once(one for site in each if site.gpu == "nvidia" for one in drivers(site.nvidia, system.os)),
        locks=_once([*(one for site in each for one in locks(site)), *([controller_lock()] if controller else [])]),
        models=_once(one for site in each if site.prepares_phase_2 for one in _models(site)),
        ollama=_once(_ollama(site) for site in each),
        ollama_models=_once(name for site in each for name in (*site.ollama.vision.models, *site.ollama.text.models)),
        grafana=_once(grafana_archive(site) for site in each if site.monitoring.shows_dashboards),
    )


def repositories(site: Site, system: System) -> Iterable[Repository]:
    """apt's sources of a host, the distribution's first."""
    for archive in archives(system.os, system.codename):
        base = site.mirrors.distribution
        uri = f"{base.rstrip('/')}/{archive.folder}" if base else ""
        for suite in archive.suites:
            yield Repository(
                f"distribution/{archive.folder}", uri, suite, COMPONENTS[system.os], keyring=KEYRINGS[system.os]
            )
    if site.gpu == "nvidia":
        uri, file = cuda_repository(site, system.os, system.version), cuda_key(system.os, system.version)
        folder = f"cuda/{cuda_distribution(system.os, system.version)}/x86_64"
        fingerprint = cuda_fingerprint(site, system.os, system.version) or ""
        key = Key(f"{folder}/{file}", f"{uri}/{file}", fingerprint, site.nvidia.key_sha256)
        yield Repository(folder, uri, "/", (), key=key)
    if site.gpu == "nvidia" and site.docker.source != "none":
        key = Key("container-toolkit/gpgkey", toolkit_key(site), toolkit_fingerprint(site), "")
        yield Repository("container-toolkit/stable/deb/amd64", toolkit_repository(site), "/", (), key=key)
    if site.docker.source == "docker":
        uri = docker_repository(site, system.os)
        fingerprint, sha256 = repository_key(site.docker)
        folder = f"docker/{system.os}"
        key = Key(f"{folder}/gpg", f"{uri}/gpg", fingerprint, sha256)
        yield Repository(folder, uri, system.codename, ("stable",), key=key)


def groups(site: Site, system: System, kernels: Sequence[str]) -> Iterable[Group]:
    """What the roles ask apt for, but for the driver. `gpg` is there for the keys of the vendors' repositories."""
    yield Group("base", (*PACKAGES, *site.base.packages))
    if site.prepares_phase_2:
        yield Group("vLLM", tuple(distribution_packages(vllm_build(site).kind)), recommends=True)
    if site.gpu == "nvidia":
        for headers in kernel_packages(system.os, kernels):
            yield Group(headers, ("gpg", headers), recommends=True)
            # DKMS wants the headers of the kernel that runs: a host with an older kernel has to come to this one.
            kernel = headers.replace("-headers-", "-image-")
            yield Group(kernel, (kernel,))
    if site.monitoring.stack:
        yield Group("monitoring", monitoring_packages(site.gpu))
    if site.docker.source != "none":
        source = site.docker.source
        packages = wanted_packages(source, system.os, system.version)
        if site.consumers.project and source == "distribution":
            yield Group("Docker Compose", (compose_package(system.os),))
        yield Group("gpg", ("gpg",), recommends=True)
        yield Group("Docker", packages, recommends=True, engine=ENGINE[source], version=site.docker.version)
        if site.gpu == "nvidia":
            yield Group("container toolkit", tuple(toolkit_packages()))


def kernel_packages(distribution: str, kernels: Sequence[str]) -> tuple[str, ...]:
    """Headers of the usual flavours, and of those that these kernels have."""
    usual = [f"linux-headers-{flavour}" for flavour in FLAVOURS[distribution]]
    return _once([*usual, *(name for kernel in kernels for name in kernel_headers(distribution, kernel))])


def drivers(settings: NvidiaSettings, distribution: str) -> Iterable[DriverPlan]:
    """The driver for each kind of kernel modules that the host's cards may want."""
    branch = settings.wanted_branch
    kinds: tuple[Kind, ...] = ("open", "proprietary")
    if settings.modules != "auto":
        kinds = (settings.modules,)
    elif int(branch) > NEWEST_OPEN_TO_ALL:  # the cards that want proprietary ones have no such branch
        kinds = ("open",)
    for kind in kinds:
        packages = compute_packages(distribution, branch, kind)
        yield DriverPlan(branch, settings.version, kind, pinning(branch), packages)


def locks(site: Site) -> Iterable[Lock]:
    """Wheels of Phase 2: uv, which makes the environments, vLLM's and the adapter's."""
    if not site.prepares_phase_2:
        return
    build = vllm_build(site)
    yield Lock("uv", (LOCKS / "uv.lock").read_text(encoding="utf-8"), "")
    yield Lock(f"vLLM ({build.kind})", build.lock_text, build.python)
    yield Lock("adapter", adapter_lock(), "")


def controller_lock() -> Lock:
    """What `make venv` installs on the machine that deploys."""
    return Lock("controller", (ROOT / "requirements.lock").read_text(encoding="utf-8"), "")


def _models(site: Site) -> Iterable[HubModel]:
    for one in snapshots(site):
        yield HubModel(one.repository, one.revision, site.vllm.hub_token)


def _ollama(site: Site) -> OllamaRelease:
    return OllamaRelease(ollama_version(site), wanted_sha256(site))


def _once(values: Iterable[Thing]) -> tuple[Thing, ...]:
    return tuple(dict.fromkeys(values))
