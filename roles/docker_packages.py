"""Names of Docker's packages by source, and what cannot stay beside them. Read by the role and by preflight."""

from __future__ import annotations

import re
from typing import Literal

Source = Literal["docker", "distribution"]

OWN = ("docker-ce", "docker-ce-cli", "containerd.io", "docker-buildx-plugin", "docker-compose-plugin")
# Those whose version is Docker's own.
ENGINE: dict[Source, tuple[str, ...]] = {"docker": ("docker-ce", "docker-ce-cli"), "distribution": ("docker.io",)}
DAEMONS = ("docker-ce", "docker.io", "containerd.io", "containerd", "runc")  # what containers run under
# Source: Docker Engine installation guide, August 2026; docker-cli and docker-buildx are Debian 13's, with files of the same names.
CONFLICTING: dict[Source, tuple[str, ...]] = {
    "docker": (
        "docker.io", "docker-cli", "docker-doc", "docker-compose", "docker-compose-v2", "docker-buildx", "podman-docker",
        "containerd", "runc",
    ),
    "distribution": (*OWN, "docker-ce-rootless-extras"),
}  # fmt: skip


def wanted_packages(source: Source, os: str, os_version: str) -> tuple[str, ...]:
    """What to install. From Debian 13 on the distribution's client is a package of its own, which is only recommended."""
    if source == "docker":
        return OWN
    alone = os == "debian" and os_version.isdigit() and int(os_version) >= 13
    return ("docker.io", "docker-cli") if alone else ("docker.io",)


def compose_package(os: str) -> str:
    """The distribution's package of Docker Compose; Docker's own comes with its engine."""
    return "docker-compose-v2" if os == "ubuntu" else "docker-compose"


def upstream(version: str) -> str:
    """`5:26.1.5-1~debian.12~bookworm` or `26.1.5+dfsg1-9` -> `26.1.5`."""
    return re.sub(r"^\d+:|[-+~].*$", "", version)
