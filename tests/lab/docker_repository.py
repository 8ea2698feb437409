"""Docker's own repository in the test lab: made on first use, skipped where this machine's package mirror has no Debian 13."""

from __future__ import annotations

import json

import pytest

from lab import Host
from lab.mirror import cache, docker_site

OLD, NEW = docker_site.ENGINES


def make_or_skip() -> None:
    try:
        docker_site.ensure(cache.root())
    except cache.CacheError as error:
        pytest.skip(str(error))


def put_image(host: Host) -> None:
    """An image that needs no registry: `box`, with busybox. Docker must run."""
    host.ssh(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends busybox-static && "
        "mkdir -p /root/image/bin && cp /bin/busybox /root/image/bin/ && tar -C /root/image -c . | docker import - box",
        timeout=600,
    )


def run_container(host: Host, name: str) -> None:
    host.ssh(f"docker run -d --name {name} box /bin/busybox sleep 100000")


def started(host: Host, name: str) -> str:
    """Whether the container runs, and since when."""
    return host.ssh(f"docker inspect -f '{{{{.State.Running}}}} {{{{.State.StartedAt}}}}' {name}", check=False).stdout


def daemon_json(host: Host) -> dict[str, object]:
    content: dict[str, object] = json.loads(host.ssh("cat /etc/docker/daemon.json").stdout)
    return content
