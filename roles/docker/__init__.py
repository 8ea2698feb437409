"""Docker, for the consumers and the exporters; vLLM and Ollama run as plain services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.facts.server import OsRelease
from pyinfra.operations import apt

from roles.apt_repositories import apt_repository
from roles.docker.operations import DAEMON_JSON, daemon_configured
from roles.docker.settings import DockerSettings
from roles.held_packages import packages_held
from roles.host_files import install_program
from roles.pins import pins
from roles.restarts import started_after

if TYPE_CHECKING:
    from roles.site import Site

DOCKER_PACKAGES = ["docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin"]
TOOLKIT_PACKAGES = (
    "nvidia-container-toolkit",
    "nvidia-container-toolkit-base",
    "libnvidia-container-tools",
    "libnvidia-container1",
)


@deploy("Docker")
def docker(site: Site) -> None:
    if site.docker.source == "none":
        return
    install(site)
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


def install(site: Site) -> None:
    if site.docker.source == "distribution":
        apt.packages(name="Install the distribution's Docker", packages=["docker.io"], no_recommends=True)
        return
    system = host.get_fact(OsRelease)
    base = f"{site.mirrors.docker.rstrip('/')}/{system['id']}"
    apt.packages(name="Install gpg", packages=["gpg"])
    apt_repository(
        name="Add Docker's repository",
        repository="docker",
        uri=base,
        suite=system["version_codename"],
        components="stable",
        key_url=f"{base}/gpg",
        fingerprint=pins().docker.fingerprint,
        key_sha256=pins().docker.key_sha256,
    )
    apt.packages(name="Install Docker", packages=DOCKER_PACKAGES, no_recommends=True)


def install_toolkit(site: Site) -> None:
    """What lets a container see the card; four packages that must have one version."""
    pin = pins().nvidia
    base = site.mirrors.container_toolkit.rstrip("/")
    apt.packages(name="Install gpg", packages=["gpg"])
    apt_repository(
        name="Add NVIDIA's container toolkit repository",
        repository="nvidia-container-toolkit",
        uri=f"{base}/stable/deb/amd64",
        suite="/",
        components="",
        key_url=f"{base}/gpgkey",
        fingerprint=site.nvidia.toolkit_key_fingerprint or pin.toolkit_fingerprint,
    )
    packages = [f"{name}={pin.toolkit}" for name in TOOLKIT_PACKAGES]
    apt.packages(
        name="Install the container toolkit",
        packages=packages,
        no_recommends=True,
        extra_install_args="--allow-change-held-packages",
    )
    packages_held(name="Hold the container toolkit", packages=TOOLKIT_PACKAGES)


def daemon_settings(settings: DockerSettings, with_cards: bool) -> dict[str, object]:
    """The keys of daemon.json that are ours: bounded logs, containers that outlive a restart of the daemon, the card's runtime."""
    runtimes = {"runtimes": {"nvidia": {"path": "nvidia-container-runtime", "args": []}}} if with_cards else {}
    return {
        **runtimes,
        "live-restore": True,
        "log-driver": "json-file",
        "log-opts": {"max-size": settings.log_max_size, "max-file": str(settings.log_max_files)},
    }
