"""Bad input and bad surroundings, on real hosts: a refusal changes nothing on the host, and the other host is deployed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from lab import Host, mirrored
from lab.mirror import faults
from roles.pins import pins
from tests.lab.deployments import Operator

pytestmark = pytest.mark.lab
Served = tuple[Host, Host]
# Everything a deploy would touch, with content and time; logs and the journal change by themselves.
WHAT_IS_THERE = (
    "find /etc /opt /usr /root /var/lib /var/cache -xdev -not -path '*/journal/*' -not -path '/var/lib/systemd/*' "
    "-printf '%p %T@ %s %m\\n'; dpkg-query -W; systemctl list-unit-files --no-legend --type=service,socket,target,timer"
)


@pytest.fixture(scope="module")
def fresh(make_host: Callable[..., Host]) -> Host:
    """A host that nothing was ever deployed to."""
    return make_host("fresh")


@contextmanager
def mirror_fault(operator: Operator, *entries: dict[str, object]) -> Iterator[None]:
    """The mirrors misbehave inside the block; see lab/mirror/faults.py."""
    state = operator.lab.mirror_directory
    faults.write(state, entries)
    try:
        yield
    finally:
        faults.write(state, [])


@contextmanager
def untouched(host: Host) -> Iterator[None]:
    """Raises AssertionError when the block changed anything that a deploy would."""
    before = set(host.ssh(WHAT_IS_THERE).stdout.splitlines())
    yield
    assert set(host.ssh(WHAT_IS_THERE).stdout.splitlines()) ^ before == set()


def refused(operator: Operator, fresh: Host, other: Host, *arguments: str) -> str:
    """Deploy to both; the fresh one must be refused, the other must go through. Returns what was printed."""
    with untouched(fresh):
        result = operator.deploy(*arguments, hosts=[fresh, other])
    assert result.status == 1
    assert result.failed == []
    assert any(other.name in step["no_change"] for step in result.results), result.output
    assert not any(fresh.name in step["success"] for step in result.results)
    return result.output


def test_a_foreign_process_on_11434_is_named_and_left_alone(operator: Operator, fresh: Host, served: Served) -> None:
    fresh.ssh("systemd-run --unit=squatter python3 -m http.server 11434")
    fresh.ssh("for i in $(seq 100); do ss -ltn | grep -q :11434 && exit 0; sleep 0.1; done; exit 1")
    said = refused(operator, fresh, served[1])
    assert f"{fresh.name}: refused, nothing was changed" in said
    assert "port 11434" in said
    assert "squatter.service" in said
    assert "systemctl disable --now squatter.service" in said
    assert fresh.ssh("systemctl is-active squatter").stdout.strip() == "active"
    fresh.ssh("systemctl stop squatter")


def test_a_checksum_that_differs_from_the_release_is_refused(operator: Operator, fresh: Host, served: Served) -> None:
    said = refused(operator, fresh, served[1], "--data", f"ollama.sha256={'b' * 64}")
    assert "ollama.sha256" in said
    assert "is not the checksum of the release" in said


def test_a_mirror_that_answers_404_is_refused(operator: Operator, fresh: Host, served: Served) -> None:
    with mirror_fault(operator, {"path": "/ollama/releases/download/v", "status": 404}):
        said = refused(operator, fresh, served[1])
    assert "mirrors.ollama_releases" in said
    assert "answered 404" in said


def test_a_model_without_access_is_refused(operator: Operator, fresh: Host, served: Served, tmp_path: object) -> None:
    stranger = operator.lab.directory / "stranger-token"
    stranger.write_text("hf_lab_stranger")
    said = refused(operator, fresh, served[1], "--data", f"vllm.hub_token_file={stranger}")
    assert "meta-llama/Llama-2-7b-chat-hf is gated and this token has no access" in said


def test_a_misspelt_setting_stops_every_host_it_applies_to(operator: Operator, fresh: Host) -> None:
    with untouched(fresh):
        result = operator.deploy("--data", "vllm.prot=8001", hosts=[fresh])
    assert result.status == 1
    assert "did you mean vllm.port?" in result.output


def test_a_host_that_cannot_be_reached_is_named_and_the_other_one_goes_on(
    operator: Operator, fresh: Host, served: Served
) -> None:
    fresh.partition()
    try:
        result = operator.deploy(hosts=[fresh, served[1]])
    finally:
        fresh.heal()
    assert result.status == 1
    assert fresh.name in result.output
    assert any(served[1].name in step["no_change"] for step in result.results), result.output


def test_the_driver_repository_is_added_only_with_the_key_we_expect(operator: Operator, fresh: Host) -> None:
    """The nvidia role against the signed repository of stand-in packages: wrong fingerprint, then the right one."""
    mirrors = mirrored.ensure(operator.lab)
    playbook = "tests/lab/only_nvidia.py"
    toolkit = f"nvidia.toolkit_key_fingerprint={mirrors.apt_key_fingerprint}"
    gpu = ("--data", "gpu=nvidia", "--data", "nvidia.reboot=ask-later", "--data", toolkit)
    wrong = operator.pyinfra(
        "--json", "--yes", *gpu, "--data", f"nvidia.key_fingerprint={'A' * 40}", playbook=playbook, hosts=[fresh]
    )
    assert wrong.status == 1
    assert f"has fingerprint {mirrors.apt_key_fingerprint}, not {'A' * 40}; nothing was changed" in wrong.output
    assert "nvidia-cuda" not in fresh.ssh("ls /etc/apt/sources.list.d /etc/apt/keyrings").stdout

    right = ("--data", f"nvidia.key_fingerprint={mirrors.apt_key_fingerprint}")
    first = operator.pyinfra("--json", "--yes", *gpu, *right, playbook=playbook, hosts=[fresh])
    # The stand-in driver has no kernel module, so the run must end by asking for the reboot, and only there.
    assert first.failed == ["NVIDIA | Have the installed driver loaded"], first.output
    assert "nvidia-driver-cuda" in fresh.ssh("apt-mark showhold").stdout
    assert fresh.ssh("dpkg-query -W -f '${Version}' nvidia-driver-cuda").stdout.startswith("580.")
    assert fresh.ssh("dpkg-query -W -f '${Version}' nvidia-container-toolkit").stdout == pins().nvidia.toolkit
    assert "nvidia" in json.loads(fresh.ssh("cat /etc/docker/daemon.json").stdout)["runtimes"]
    second = operator.pyinfra("--json", "--yes", *gpu, *right, playbook=playbook, hosts=[fresh])
    assert second.changed == [], second.output
