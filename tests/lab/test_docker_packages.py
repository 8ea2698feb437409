"""Docker's own packages under real apt and dpkg: from nothing, pinned, moved, refused, and in place of the distribution's.

One host, in this order: Docker's packages, the distribution's in their place, and Docker's again.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Host
from tests.lab.deployments import Operator, Result
from tests.lab.docker_repository import NEW, OLD, make_or_skip, put_image, run_container, started

pytestmark = [pytest.mark.lab, pytest.mark.slow]
INSTALL = "Docker | Install Docker, the whole transaction judged first"
CONTAINER = "survivor"
Deploy = Callable[..., Result]


@pytest.fixture(scope="module")
def box(make_host: Callable[..., Host]) -> Host:
    make_or_skip()
    return make_host("dockerce")


@pytest.fixture(scope="module")
def deploy(operator: Operator, box: Host) -> Deploy:
    """The docker role on that host with Docker's own packages; words are further settings."""

    def run(*settings: str, source: str = "docker") -> Result:
        data = [word for setting in (f"docker.source={source}", *settings) for word in ("--data", setting)]
        return operator.pyinfra("--json", "--yes", *data, playbook="tests/lab/only_docker.py", hosts=[box])

    return run


def packages(host: Host) -> str:
    return host.ssh("dpkg-query -W").stdout


def engine(host: Host) -> str:
    """The one that is installed, with its version."""
    form = "'${db:Status-Status} ${Package} ${Version}\\n'"
    listed = host.ssh(f"dpkg-query -W -f {form} docker-ce docker.io 2>/dev/null", check=False).stdout.splitlines()
    (there,) = [line for line in listed if line.startswith("installed ")]
    return there.removeprefix("installed ")


def test_a_version_that_nobody_offers_is_refused_with_those_that_are_offered(box: Host, deploy: Deploy) -> None:
    result = deploy("docker.version=28.9.9")
    assert result.status == 1
    assert f"no docker-ce 28.9.9: the repositories have {NEW}, {OLD}" in result.output
    assert "docker" not in packages(box)


def test_dockers_own_packages_come_from_nothing_in_the_wanted_version_and_are_held(box: Host, deploy: Deploy) -> None:
    result = deploy(f"docker.version={OLD}")
    assert result.status == 0, result.output
    assert engine(box).startswith(f"docker-ce 5:{OLD}-1~debian.12~bookworm")
    assert set(box.ssh("apt-mark showhold").stdout.split()) >= {"docker-ce", "docker-ce-cli", "containerd.io"}
    assert box.ssh("docker version --format '{{.Server.Version}}'").stdout.startswith("26.1.5")  # both are that inside
    assert box.ssh("docker compose version && docker buildx version").returncode == 0
    assert deploy(f"docker.version={OLD}").changed == []
    # Without a version the one that is there stays.
    assert deploy().changed == []


def test_a_daemon_json_that_dockerd_rejects_is_never_put_in_place(box: Host) -> None:
    before = box.ssh("cat /etc/docker/daemon.json; systemctl show -p ActiveEnterTimestamp docker").stdout
    done = box.ssh("""/usr/local/lib/llm/configure-daemon '{"no-such-key": true}'""", check=False)
    assert done.returncode == 2
    assert "dockerd rejects what /etc/docker/daemon.json would be" in done.stderr
    assert "no-such-key" in done.stderr
    assert box.ssh("cat /etc/docker/daemon.json; systemctl show -p ActiveEnterTimestamp docker").stdout == before
    assert "daemon.json.new" not in box.ssh("ls /etc/docker").stdout


def test_another_version_replaces_the_held_one_and_the_container_runs_on(box: Host, deploy: Deploy) -> None:
    put_image(box)
    run_container(box, CONTAINER)
    before = started(box, CONTAINER)
    assert before.startswith("true")
    result = deploy(f"docker.version={NEW}")
    assert result.status == 0, result.output
    assert engine(box).startswith(f"docker-ce 5:{NEW}")
    assert started(box, CONTAINER) == before


def test_packages_of_another_source_are_refused_by_default(box: Host, deploy: Deploy) -> None:
    before = packages(box)
    result = deploy(source="distribution")
    assert result.status == 1
    assert (
        "docker-ce, docker-ce-cli, containerd.io, docker-buildx-plugin, docker-compose-plugin cannot stay"
        in result.output
    )
    assert "docker.replace_conflicting" in result.output
    assert packages(box) == before


def test_an_older_docker_does_not_take_over_a_running_container(box: Host, deploy: Deploy) -> None:
    box.ssh("apt-mark unhold docker-ce docker-ce-cli containerd.io docker-buildx-plugin docker-compose-plugin")
    before = packages(box), started(box, CONTAINER)
    result = deploy("docker.replace_conflicting=true", source="distribution")
    assert result.status == 1
    assert f"is older than {NEW}, which started these containers: {CONTAINER}" in result.output
    assert (packages(box), started(box, CONTAINER)) == before


def test_the_distributions_docker_takes_over_images_when_nothing_runs(box: Host, deploy: Deploy) -> None:
    box.ssh(f"docker rm -f {CONTAINER}")
    result = deploy("docker.replace_conflicting=true", source="distribution")
    assert result.status == 0, result.output
    assert engine(box).startswith("docker.io 20.10")
    run_container(box, CONTAINER)
    assert deploy(source="distribution").changed == []


def test_without_live_restore_a_running_container_stops_the_replacement(box: Host, deploy: Deploy) -> None:
    # The running Docker keeps it after this reload; the new one would start without it, and end the container.
    box.ssh("cp /etc/docker/daemon.json /root/ && echo '{}' > /etc/docker/daemon.json && systemctl reload docker")
    before = packages(box), started(box, CONTAINER)
    result = deploy("docker.replace_conflicting=true")
    assert result.status == 1
    assert "live-restore is not on" in result.output
    assert f"these containers would end: {CONTAINER}" in result.output
    assert (packages(box), started(box, CONTAINER)) == before
    box.ssh("cp /root/daemon.json /etc/docker/ && systemctl reload docker")


def test_docker_takes_over_from_the_distribution_while_the_container_runs_on(box: Host, deploy: Deploy) -> None:
    before = started(box, CONTAINER)
    images = box.ssh("docker image ls -q --no-trunc").stdout
    result = deploy("docker.replace_conflicting=true")
    assert result.status == 0, result.output
    assert engine(box).startswith(f"docker-ce 5:{NEW}")
    assert started(box, CONTAINER) == before
    assert box.ssh("docker image ls -q --no-trunc").stdout == images
    assert box.ssh(f"docker exec {CONTAINER} /bin/busybox echo alive").stdout == "alive\n"
    assert deploy().changed == []
    # What Debian's package left behind would erase every image now.
    box.ssh("dpkg --purge docker.io")
    assert box.ssh("docker image ls -q --no-trunc").stdout == images
