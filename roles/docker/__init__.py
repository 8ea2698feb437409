"""Docker, for the consumers and the exporters; vLLM and Ollama run as plain services."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.server import OsRelease
from pyinfra.operations import apt

from roles.apt_repositories import (
    apt_repository,
    docker_repository,
    toolkit_fingerprint,
    toolkit_key,
    toolkit_repository,
)
from roles.docker.operations import DAEMON_JSON, daemon_configured, docker_installed
from roles.docker.settings import DockerSettings
from roles.docker_packages import Source, compose_package, wanted_packages
from roles.held_packages import packages_held
from roles.host_files import install_program
from roles.pins import pins
from roles.restarts import started_after

if TYPE_CHECKING:
    from roles.site import Site

TOOLKIT_PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)


@deploy("Docker")
def docker(site: Site) -> None:
    source = site.docker.source
    if source == "none":
        return
    install(site, source)
    if site.gpu == "nvidia":
        install_toolkit(site)
    install_program("Install configure-daemon", "roles/docker/host/configure-daemon")
    daemon_configured(
        name="Have Docker run with our keys in daemon.json and all others kept, or undo it",
        wanted=daemon_settings(site.docker, with_cards=site.gpu == "nvidia"),
    )
    started_after(
        name="Have Docker run with this configuration, its containers kept",
        unit="docker.service",
        path=DAEMON_JSON,
        # The reload turns live-restore on, so that the restart finds every container still running.
        restart="systemctl enable --quiet docker; systemctl reload docker 2>/dev/null; systemctl restart docker",
    )


def install(site: Site, source: Source) -> None:
    system = host.get_fact(OsRelease)
    if source == "docker":
        add_repository(site, system)
    install_program("Install install-docker", "roles/docker/host/install-docker")
    packages = wanted_packages(source, system["id"], system["version_id"])
    docker_installed(
        name="Install Docker, the whole transaction judged first",
        packages=packages,
        source=source,
        version=site.docker.version,
        replace_conflicting=site.docker.replace_conflicting,
    )
    if site.docker.version:
        packages_held(name="Hold Docker", packages=packages)
    if site.consumers.project and source == "distribution":
        compose = compose_package(system["id"])
        apt.packages(name="Install Docker Compose", packages=[compose], no_recommends=True)


def add_repository(site: Site, system: Mapping[str, str]) -> None:
    base = docker_repository(site, system["id"])
    fingerprint, key_sha256 = repository_key(site.docker)
    apt.packages(name="Install gpg", packages=["gpg"])
    apt_repository(
        name="Add Docker's repository",
        repository="docker",
        uri=base,
        suite=system["version_codename"],
        components="stable",
        key_url=f"{base}/gpg",
        fingerprint=fingerprint,
        key_sha256=key_sha256,
    )


def repository_key(settings: DockerSettings) -> tuple[str, str]:
    """Fingerprint and sha256 of the key of Docker's repository; the pinned sha256 is that of the pinned key alone."""
    pin = pins().docker
    fingerprint = settings.key_fingerprint or pin.fingerprint
    sha256 = pin.key_sha256 if fingerprint == pin.fingerprint else ""
    return fingerprint, sha256 if settings.key_sha256 is None else settings.key_sha256


def install_toolkit(site: Site) -> None:
    """What lets a container see the card; four packages that must have one version."""
    apt.packages(name="Install gpg", packages=["gpg"])
    apt_repository(
        name="Add NVIDIA's container toolkit repository",
        repository="nvidia-container-toolkit",
        uri=toolkit_repository(site),
        suite="/",
        components="",
        key_url=toolkit_key(site),
        fingerprint=toolkit_fingerprint(site),
    )
    apt.packages(
        name="Install the container toolkit",
        packages=toolkit_packages(),
        no_recommends=True,
        extra_install_args="--allow-change-held-packages",
    )
    packages_held(name="Hold the container toolkit", packages=TOOLKIT_PACKAGES)


def toolkit_packages() -> list[str]:
    """As apt is asked for them: `name=version`."""
    return [f"{name}={pins().nvidia.toolkit}" for name in TOOLKIT_PACKAGES]


def daemon_settings(settings: DockerSettings, with_cards: bool) -> dict[str, object]:
    """The keys of daemon.json that are ours: bounded logs, containers that outlive a restart of the daemon, the card's runtime.

    Docker 25 to 28.2 does CDI only where it is told to; older ones pass over the key, newer ones do it anyway.
    """
    runtime = {"nvidia": {"path": "nvidia-container-runtime", "args": []}}
    cards = {"runtimes": runtime, "features": {"cdi": True}} if with_cards else {}
    return {
        **cards,
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-size": settings.log_max_size, "max-file": str(settings.log_max_files)},
    }
