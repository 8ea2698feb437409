"""Hosts that must be left as they are: each is refused before its first change, and the others of the run are not."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plan.conftest import Pyinfra
from tests.plan.fake_hosts import BOOKWORM, FRESH, GB, answers, fake_host, holder
from tests.plan.fake_machines import NO_CARD, ONE_H100, P100, Machine

CPU = {"gpu": "none", "docker": {"source": "distribution"}}

REFUSED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "a misspelt key": (
        fake_host(vllm={"gpu_memory_utilisation": 0.8}),
        ("vllm.gpu_memory_utilisation", "did you mean vllm.gpu_memory_utilization?"),
    ),
    "a port used twice": (fake_host(vllm={"port": 11435}), ("ollama.vision.port", "11435 is taken by vllm.port")),
    "a name with two backends": (
        fake_host(ollama={"vision": {"models": ["llava:7b", "llama2"]}}),
        ("vllm.aliases", "'llama2' is claimed by ollama.vision.models too"),
    ),
    "a memory fraction above one": (
        fake_host(vllm={"gpu_memory_utilization": 1.2}),
        ("vllm.gpu_memory_utilization", "not 1.2"),
    ),
    "a foreign process on 11434": (
        fake_host(FRESH | {"listeners": [holder(11434, "nginx", "nginx.service")]}),
        (
            "port 11434",
            "adapter.port is held by nginx (pid 812, nginx.service)",
            "systemctl disable --now nginx.service",
        ),
    ),
    "the Ollama of its own installer on 11434": (
        fake_host(FRESH | {"listeners": [holder(11434, "ollama", "ollama.service", "127.0.0.1")]}),
        ("port 11434", "ollama (pid 812, ollama.service) on 127.0.0.1", "systemctl disable --now ollama.service"),
    ),
    "a checksum that is not the release's": (
        fake_host(ollama={"sha256": "b" * 64}),
        ("ollama.sha256", "bbbbbbbbbbbb… is not the checksum of the release, which is aaaaaaaaaaaa…"),
    ),
    "a mirror that answers 404": (
        fake_host(mirrors=answers(ollama_archive={"status": 404})),
        ("mirrors.ollama_releases", "the release archive: http://mirror/ollama-archive answered 404"),
    ),
    "a mirror that does not answer": (
        fake_host(mirrors=answers(cuda={"status": 0, "error": "timed out"})),
        ("mirrors.cuda_repositories", "does not answer (timed out)"),
    ),
    "a gated model without a token": (
        fake_host(mirrors=answers(hub_file={"status": 401, "headers": {"x-error-code": "GatedRepo"}})),
        ("vllm.model", "meta-llama/Llama-2-7b-chat-hf is gated"),
    ),
    "a model without a pinned revision": (
        fake_host(vllm={"model": "org/other"}),
        ("vllm.model_revision", "org/other has no pinned revision", f'"model_revision": "{"f" * 40}"'),
    ),
    "no card on the bus": (
        fake_host(BOOKWORM, machine=NO_CARD),
        ("gpu", "no NVIDIA card on the PCI bus", 'set gpu = "none"'),
    ),
    "a card below vLLM's floor": (
        fake_host(machine=Machine((P100,)).with_driver()),
        ("gpu", "Tesla P100-PCIE-16GB has compute capability 6.0, vLLM needs 7.5", "this host can run Phase 1"),
    ),
    "a card too old for open kernel modules": (
        fake_host(machine=Machine((P100,)), phase=1, nvidia={"modules": "open"}),
        ("nvidia.modules", "open kernel modules begin at Turing", '"modules": "proprietary"'),
    ),
    "a container toolkit mirror that answers 404": (
        fake_host(mirrors=answers(toolkit={"status": 404})),
        ("mirrors.container_toolkit", "answered 404"),
    ),
    "a system whose driver key nobody has pinned": (
        fake_host(FRESH | {"os": "debian", "os_version": "13", "codename": "trixie"}),
        ("nvidia.key_fingerprint", "debian 13 is not in roles/pins.toml"),
    ),
    "a container that publishes 11434": (
        fake_host(FRESH | {"listeners": [holder(11434, "docker-proxy", "docker.service")]}),
        ("port 11434", "docker ps --filter publish=11434"),
    ),
    "a disk that is too small": (
        fake_host(FRESH | {"folders": {f: {"mount": 1, "free": 20 * GB} for f in FRESH["folders"]}}),
        ("disk", "20.0 GB free", "/opt/llm 22.0 GB", "/var/lib/llm/hub 13.5 GB"),
    ),
    "an unsupported system": (
        fake_host(FRESH | {"os": "fedora", "os_version": "43"}),
        ("system", "fedora 43 is not supported", "debian 12, 13"),
    ),
    "a user without rights": (fake_host(FRESH | {"uid": 1000}), ("user", "uid 1000, not root", "_sudo = True")),
    "no torch for the CPU build": (
        fake_host(BOOKWORM, answers(torch_0={"text": "torch-2.13.0-cp311"}), NO_CARD, **CPU),
        ("mirrors.torch_cpu_index", "no torch 2.13.0+cpu for Python 3.11", "has other versions"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_key_and_cause_and_the_other_host_is_planned(case: str, pyinfra: Pyinfra) -> None:
    host, expected = REFUSED[case]
    run = pyinfra({"bad": host, "good": fake_host()}, "--json", "inventory", "deploy.py", "--dry")
    assert run.status == 1
    assert "@fake/bad: refused, nothing was changed" in run.output
    for text in expected:
        assert text in run.output, run.output
    assert run.steps("bad") == []
    assert "Phase | Have the host in its phase; when that does not come up, in the one that served before" in run.steps(
        "good"
    )


def test_everything_wrong_with_a_host_is_in_one_report(pyinfra: Pyinfra) -> None:
    survey = FRESH | {"uid": 1000, "listeners": [holder(11434, "nginx"), holder(8000, "chroma")]}
    run = pyinfra({"bad": fake_host(survey, machine=Machine((P100,)))}, "--json", "inventory", "deploy.py", "--dry")
    assert "refused, nothing was changed (4 errors, 0 warnings)" in run.output


def test_a_host_with_old_cards_is_deployed_to_phase_1(pyinfra: Pyinfra) -> None:
    run = pyinfra(
        {"old": fake_host(machine=Machine((P100,)), phase=1, nvidia={"modules": "proprietary"})},
        "--json",
        "inventory",
        "deploy.py",
        "--dry",
    )
    assert run.status == 0, run.output
    assert "Phase | Have the host in its phase; when that does not come up, in the one that served before" in run.steps(
        "old"
    )


def test_our_own_services_on_their_ports_are_no_obstacle(pyinfra: Pyinfra) -> None:
    listeners = [
        holder(11434, "python", "ollama-adapter.service"),
        holder(11435, "ollama", "ollama-vision.service"),
        holder(8000, "vllm", "vllm.service", "127.0.0.1"),
    ]
    run = pyinfra(
        {"gpu-01": fake_host(FRESH | {"listeners": listeners}, machine=ONE_H100.with_driver())},
        "inventory",
        "deploy.py",
        "--dry",
    )
    assert run.status == 0, run.output


def test_a_host_that_cannot_be_reached_leaves_the_other_one_planned(pyinfra: Pyinfra) -> None:
    nothing_listens = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_connect_retries": 0}
    run = pyinfra({"good": fake_host()}, "--json", "inventory", "deploy.py", "--dry", ssh={"gone": nothing_listens})
    assert run.status == 1
    assert "[gone]" in run.output
    assert "Phase | Have the host in its phase; when that does not come up, in the one that served before" in run.steps(
        "good"
    )
