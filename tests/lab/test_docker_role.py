"""The docker role on a real host with a real Docker: what runs goes on, what others configured stays, what fails is undone."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lab import Host
from tests.lab.deployments import Operator, Result

pytestmark = pytest.mark.lab
CONFIGURE = "Docker | Have Docker run with our keys in daemon.json and all others kept, or undo it"
Deploy = Callable[..., Result]


@pytest.fixture(scope="module")
def box(make_host: Callable[..., Host]) -> Host:
    """A host with the distribution's Docker, as somebody left it, and an image that needs no registry."""
    host = make_host("docker")
    host.ssh(
        "apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "
        "docker.io busybox-static && mkdir -p /root/image/bin && cp /bin/busybox /root/image/bin/ && "
        "tar -C /root/image -c . | docker import - box",
        timeout=600,
    )
    return host


@pytest.fixture(scope="module")
def deploy(operator: Operator, box: Host) -> Deploy:
    def run(*settings: str, mode: str = "--yes") -> Result:
        data = [word for setting in settings for word in ("--data", setting)]
        return operator.pyinfra("--json", mode, *data, playbook="tests/lab/only_docker.py", hosts=[box])

    return run


def daemon_json(host: Host) -> dict[str, object]:
    content: dict[str, object] = json.loads(host.ssh("cat /etc/docker/daemon.json").stdout)
    return content


def started(host: Host, name: str) -> str:
    return host.ssh(f"docker inspect -f '{{{{.State.Running}}}} {{{{.State.StartedAt}}}}' {name}", check=False).stdout


def test_a_running_container_and_the_operators_keys_survive_and_a_second_run_changes_nothing(
    box: Host, deploy: Deploy
) -> None:
    box.ssh("install -D /dev/stdin /etc/docker/daemon.json", stdin='{"log-opts": {"labels": "site"}, "debug": false}')
    box.ssh("systemctl restart docker; docker run -d --name survivor box /bin/busybox sleep 100000")
    before = started(box, "survivor")
    result = deploy()
    assert result.status == 0, result.output
    assert CONFIGURE in result.changed
    assert started(box, "survivor") == before
    content = daemon_json(box)
    assert content["debug"] is False
    assert content["log-opts"] == {"labels": "site", "max-file": "3", "max-size": "50m"}
    assert content["live-restore"] is True
    assert json.loads(box.ssh("docker info --format '{{json .LiveRestoreEnabled}}'").stdout) is True
    assert json.loads(box.ssh("cat /etc/docker/daemon.json.before-llm").stdout)["debug"] is False
    assert deploy().changed == []


def test_a_changed_setting_reaches_docker_and_the_container_runs_on(box: Host, deploy: Deploy) -> None:
    before = started(box, "survivor")
    result = deploy("docker.log_max_files=5")
    assert result.status == 0, result.output
    assert daemon_json(box)["log-opts"] == {"labels": "site", "max-file": "5", "max-size": "50m"}
    assert started(box, "survivor") == before
    assert deploy().status == 0


def test_a_daemon_that_does_not_come_up_gets_its_previous_file_back(box: Host, deploy: Deploy) -> None:
    before = started(box, "survivor")
    good = box.ssh("cat /etc/docker/daemon.json").stdout
    wanted = json.dumps({"log-opts": {"max-file": "9"}, "log-driver": "no-such-driver"})
    done = box.ssh(f"/usr/local/lib/llm/configure-daemon '{wanted}'", check=False, timeout=300)
    assert done.returncode == 1
    assert "Docker does not answer" in done.stderr
    assert "is back" in done.stderr
    assert json.loads(box.ssh("cat /etc/docker/daemon.json").stdout) == json.loads(good)
    assert started(box, "survivor").startswith("true")
    assert started(box, "survivor") == before


@pytest.mark.parametrize("text", ['{"debug": ', "[]"])
def test_a_file_that_cannot_be_read_is_refused_and_left_alone(box: Host, deploy: Deploy, text: str) -> None:
    good = box.ssh("cat /etc/docker/daemon.json").stdout
    box.ssh("cat > /etc/docker/daemon.json", stdin=text)
    try:
        result = deploy()
        assert result.status == 1
        assert "cannot be read" in result.output
        assert box.ssh("cat /etc/docker/daemon.json").stdout.strip() == text.strip()
    finally:
        box.ssh("cat > /etc/docker/daemon.json", stdin=good)
    assert started(box, "survivor").startswith("true")


def test_a_file_that_was_changed_by_hand_is_what_docker_runs_with_after_a_deploy(box: Host, deploy: Deploy) -> None:
    before = started(box, "survivor")
    content = {**daemon_json(box), "labels": ["by=hand"]}
    box.ssh("sleep 1; cat > /etc/docker/daemon.json", stdin=json.dumps(content))
    result = deploy()
    assert result.changed == ["Docker | Have Docker run with this configuration, its containers kept"]
    assert "by=hand" in box.ssh("docker info --format '{{json .Labels}}'").stdout
    assert started(box, "survivor") == before
    assert deploy().changed == []
