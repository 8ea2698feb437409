"""Cards in containers on a real host with a real Docker: the specification, the proof, and what happens when one is stale.

The cards, the driver and the container toolkit are played; Docker, its CDI, runc and systemd are real.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from lab import Host, mirrored, pretend_gpu
from tests.lab.deployments import Operator, Result
from tests.lab.docker_repository import make_or_skip

pytestmark = [pytest.mark.lab, pytest.mark.slow]
PROGRAM = "/usr/local/lib/llm/container-cards"
SPECIFICATION = "/var/run/cdi/nvidia.yaml"
NAME = "Container cards | Have the CDI specification name every card"
PROVE = "Container cards | Prove that a container lists the cards, also after systemctl daemon-reload"
CARDS = ["GPU-pretend-0", "GPU-pretend-1"]
OLD, NEW = "580.178.04", "580.182.01"
Deploy = Callable[..., Result]


@pytest.fixture(scope="module")
def box(make_host: Callable[..., Host]) -> Host:
    """A host with two cards, and neither a driver nor Docker."""
    make_or_skip()
    host = make_host("cards")
    pretend_gpu.give(host, [pretend_gpu.H100, pretend_gpu.H100])
    return host


@pytest.fixture(scope="module")
def deploy(operator: Operator, box: Host) -> Deploy:
    key = mirrored.ensure(operator.lab).apt_key_fingerprint
    fixed = ("gpu=nvidia", "docker.source=docker", f"nvidia.key_fingerprint={key}")

    def run(*settings: str) -> Result:
        every = (*fixed, f"nvidia.toolkit_key_fingerprint={key}", *settings)
        data = [word for setting in every for word in ("--data", setting)]
        return operator.pyinfra("--json", "--yes", *data, playbook="tests/lab/only_cards.py", hosts=[box])

    return run


def record(host: Host) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(host.ssh("cat /var/lib/llm/container-cards.json").stdout)
    return content


def program(host: Host, words: str) -> tuple[int, str]:
    done = host.ssh(f"{PROGRAM} {words}", check=False, timeout=300)
    return done.returncode, done.stdout + done.stderr


def forget_the_second_card(host: Host) -> None:
    """The specification of a host to which a card was added."""
    text = json.loads(host.ssh(f"cat {SPECIFICATION}").stdout)
    text["devices"] = [device for device in text["devices"] if device["name"] not in ("1", CARDS[1])]
    for device in text["devices"]:
        device["containerEdits"]["mounts"] = device["containerEdits"]["mounts"][:1]
    host.ssh(f"cat > {SPECIFICATION}", stdin=json.dumps(text))


def test_a_bare_host_ends_with_containers_that_list_its_cards_and_a_second_run_changes_nothing(
    box: Host, deploy: Deploy
) -> None:
    result = deploy(f"nvidia.version={OLD}")
    assert result.status == 0, result.output
    assert PROVE in result.changed
    listed = box.ssh("nvidia-ctk cdi list 2>/dev/null").stdout.split()
    assert {f"nvidia.com/gpu={card}" for card in CARDS} <= set(listed)
    proof = record(box)
    assert proof["ways"] == ["cdi", "runtime"]
    assert proof["inputs"]["cards"] == CARDS
    assert proof["inputs"]["driver"] == OLD
    assert box.ssh("docker ps -aq; docker image ls -aq").stdout == ""
    again = deploy(f"nvidia.version={OLD}")
    assert again.changed == [], again.output


def test_the_daemon_does_cdi_and_a_container_sees_no_card_that_it_was_not_given(box: Host) -> None:
    settings = json.loads(box.ssh("cat /etc/docker/daemon.json").stdout)
    assert settings["features"] == {"cdi": True}
    image = box.ssh(
        "DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends busybox-static >/dev/null && "
        "mkdir -p /root/image/bin && cp /bin/busybox /root/image/bin/ && cp /bin/busybox /root/image/bin/sh && "
        "cp /bin/busybox /root/image/bin/cat && tar -C /root/image -c . | docker import - box",
        timeout=600,
    ).stdout.strip()
    for options in (f"--device nvidia.com/gpu={CARDS[1]}", f"--runtime nvidia -e NVIDIA_VISIBLE_DEVICES={CARDS[1]}"):
        seen = box.ssh(f"docker run --rm --network none {options} box nvidia-smi -L").stdout
        assert CARDS[1] in seen
        assert CARDS[0] not in seen
    box.ssh(f"docker rmi -f {image}")


def test_a_stale_specification_fails_the_proof_with_what_to_do_and_leaves_nothing_behind(box: Host) -> None:
    forget_the_second_card(box)
    status, said = program(box, "prove")
    assert status == 1
    assert "a container lists GPU-pretend-0 (cdi), the host has GPU-pretend-0, GPU-pretend-1" in said
    assert "systemctl restart nvidia-cdi-refresh.service; nvidia-ctk cdi list must name every card" in said
    assert box.ssh("docker ps -aq; docker image ls -aq").stdout == ""


def test_a_card_that_daemon_reload_takes_away_fails_the_proof_and_the_old_one_stays_on_record(box: Host) -> None:
    """systemd runs its generators at every daemon-reload; this one plays the loss, in a file that the containers have mounted."""
    before = record(box)
    box.ssh(f"nvidia-ctk cdi generate --output={SPECIFICATION}")
    generator = "/run/systemd/system-generators/lose-a-card"
    box.ssh(f"install -D -m 755 /dev/stdin {generator}", stdin=f"#!/bin/sh\n: > /run/llm-lab/cards/{CARDS[1]}\n")
    try:
        status, said = program(box, "prove")
    finally:
        box.ssh(f"rm {generator}; nvidia-ctk cdi generate --output={SPECIFICATION}")
    assert status == 1
    assert "after systemctl daemon-reload a container that was started before it lists GPU-pretend-0 (cdi)" in said
    assert "nvidia-ctk system create-dev-char-symlinks --create-all" in said
    assert record(box) == before
    assert box.ssh("docker ps -aq; docker image ls -aq").stdout == ""


def test_a_deploy_writes_a_stale_specification_anew(box: Host, deploy: Deploy) -> None:
    forget_the_second_card(box)
    status, said = program(box, "cdi --check")
    assert (status, said) == (1, "the CDI specification is stale: it does not name GPU-pretend-1\n")
    result = deploy(f"nvidia.version={OLD}")
    assert result.changed == [NAME], result.output
    assert program(box, "cdi --check") == (0, "")


def test_a_specification_that_cannot_be_made_fails_the_deploy_and_says_why(box: Host, deploy: Deploy) -> None:
    forget_the_second_card(box)
    box.ssh(
        "dpkg-divert --quiet --local --rename --add /usr/bin/nvidia-ctk; install -m 755 /dev/stdin /usr/bin/nvidia-ctk",
        stdin='#!/bin/sh\n[ "$2" = generate ] && { echo "failed to generate CDI spec" >&2; exit 1; }\n'
        'exec /usr/bin/nvidia-ctk.distrib "$@"\n',
    )
    try:
        result = deploy(f"nvidia.version={OLD}")
    finally:
        box.ssh("rm /usr/bin/nvidia-ctk; dpkg-divert --quiet --local --rename --remove /usr/bin/nvidia-ctk")
    assert result.status == 1
    assert result.failed == [NAME]
    assert "it does not name GPU-pretend-1" in result.output
    assert "ended with 1: failed to generate CDI spec" in result.output


def test_another_driver_means_another_specification_and_another_proof(box: Host, deploy: Deploy) -> None:
    result = deploy(f"nvidia.version={NEW}")
    assert result.status == 0, result.output
    assert PROVE in result.changed
    assert record(box)["inputs"]["driver"] == NEW
    assert f"nvidia-smi-{NEW}" in box.ssh(f"cat {SPECIFICATION}").stdout
    again = deploy(f"nvidia.version={NEW}")
    assert again.changed == [], again.output


def test_a_docker_without_cdi_is_proved_by_the_runtime_alone(box: Host, deploy: Deploy) -> None:
    result = deploy("docker.source=distribution", "docker.replace_conflicting=true", f"nvidia.version={NEW}")
    assert result.status == 0, result.output
    proof = record(box)
    assert proof["ways"] == ["runtime"]
    assert proof["inputs"]["docker"].startswith("20.10")
    assert proof["inputs"]["cards"] == CARDS
