"""Deploying to real hosts: what a finished deploy promises, and that it stays true."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from lab import Host
from tests.lab.deployments import CHECKOUT, Operator, without_a_route

pytestmark = pytest.mark.lab
Served = tuple[Host, Host]
READY = "/usr/local/lib/llm/llm-ready"


def serves_phase_1(host: Host) -> None:
    host.ssh(f"{READY} ollama --port 11434 --model llama3.2 --model llama2:7b --timeout 60")


def serves_phase_2(host: Host) -> None:
    host.ssh(
        f"{READY} adapter --port 11434 --model llama2:7b --model llama2 --model llama3.2 --timeout 300", timeout=360
    )


def serves_vision(host: Host) -> None:
    host.ssh(f"{READY} ollama --port 11435 --model llava:7b --model nomic-embed-text --timeout 60")


def started_at(host: Host, unit: str) -> str:
    """An id of the present start of a unit."""
    return host.ssh(f"systemctl show -p InvocationID --value {unit}").stdout.strip()


def test_a_bare_host_serves_its_phase_after_one_run(served: Served) -> None:
    two, one = served
    serves_phase_2(two)
    serves_phase_1(one)
    for host in served:
        serves_vision(host)


def test_a_second_deploy_changes_nothing_on_either_host(operator: Operator, served: Served) -> None:
    result = operator.deploy(hosts=list(served))
    assert result.status == 0, result.output
    assert result.changed == []
    assert sum(step["hosts"] for step in result.results) > 100


def test_the_verification_suite_agrees(operator: Operator, served: Served) -> None:
    limits = [word for host in served for word in ("--limit", host.name)]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "tests/verify",
            "--inventory",
            "lab/inventory",
            *limits,
        ],
        cwd=CHECKOUT,
        env=operator.environment,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout


def test_a_dry_run_shows_drift_and_changes_nothing(operator: Operator, served: Served) -> None:
    two, _ = served
    two.ssh("echo '# by hand' >> /etc/llm/vllm.yaml; systemctl stop llm-check.timer; rm /etc/llm/consumers.env")
    result = operator.dry(hosts=[two])
    assert result.status == 0, result.output
    expected = {
        "vLLM | Write vLLM's configuration",
        "Consumers | Write the environment of the consumers",
        "Monitoring | Run llm-check by its timer",
        "Phase | Put the release in place",
    }
    assert set(result.planned(two)) == expected
    assert "# by hand" in two.ssh("cat /etc/llm/vllm.yaml").stdout
    assert two.ssh("test -e /etc/llm/consumers.env", check=False).returncode == 1
    assert two.ssh("systemctl is-active llm-check.timer", check=False).stdout.strip() == "inactive"

    repaired = operator.deploy(hosts=[two])
    assert set(repaired.changed) == expected
    assert operator.deploy(hosts=[two]).changed == []


def test_a_changed_setting_restarts_exactly_the_service_that_reads_it(operator: Operator, served: Served) -> None:
    two, _ = served
    before = {
        unit: started_at(two, unit) for unit in ("vllm.service", "ollama-vision.service", "ollama-adapter.service")
    }
    result = operator.deploy("--data", "adapter.drain_timeout_s=20", hosts=[two])
    assert result.status == 0, result.output
    assert "ollama-adapter.service: changed since the last good start: configuration, unit" in result.output
    after = {unit: started_at(two, unit) for unit in before}
    assert {unit for unit in before if before[unit] != after[unit]} == {"ollama-adapter.service"}
    operator.deploy(hosts=[two])


def test_an_aborted_run_changed_nothing_that_a_service_reads_and_the_next_one_goes_on(
    operator: Operator, served: Served
) -> None:
    two, _ = served
    # What an aborted run leaves: new files beside those in use.
    operator.pyinfra(
        "--yes", "--data", "adapter.drain_timeout_s=21", playbook="tests/lab/only_configure.py", hosts=[two]
    )
    assert "drain_timeout_s = 21" in two.ssh("cat /var/lib/llm/next/root/etc/llm/adapter.toml").stdout
    assert "drain_timeout_s = 21" not in two.ssh("cat /etc/llm/adapter.toml").stdout
    before = started_at(two, "ollama-adapter.service")
    result = operator.deploy("--data", "adapter.drain_timeout_s=21", hosts=[two])
    assert "Phase | Have ollama-adapter.service run with the current inputs" in result.changed
    assert "Adapter | Write the adapter's configuration" not in result.changed
    assert started_at(two, "ollama-adapter.service") != before
    operator.deploy(hosts=[two])


def test_rollback_serves_phase_1_without_any_mirror_and_deploy_goes_forward_again(
    operator: Operator, served: Served
) -> None:
    two, _ = served
    vision = started_at(two, "ollama-vision.service")
    with without_a_route(two):
        # The inventory has moved on meanwhile; what is on the host decides.
        began = time.monotonic()
        back = operator.rollback("--data", "ollama.vision.num_parallel=2", hosts=[two])
        assert back.status == 0, back.output
        print(f"rollback.py until Phase 1 served and was proved: {time.monotonic() - began:.1f} s")
        serves_phase_1(two)
        assert started_at(two, "ollama-vision.service") == vision
        assert two.ssh("systemctl is-active vllm.service", check=False).stdout.strip() == "inactive"
        assert json.loads(two.ssh("cat /var/lib/llm/state.json").stdout)["phase"] == 1
        assert operator.rollback(hosts=[two]).changed == []

        two.reboot()
        two.wait_ready()
        serves_phase_1(two)

    forward = operator.deploy(hosts=[two])
    assert forward.status == 0, forward.output
    serves_phase_2(two)
    assert two.ssh("systemctl is-enabled llm-phase1.target", check=False).stdout.strip() == "disabled"
    assert operator.deploy(hosts=[two]).changed == []


def test_the_other_phase_can_be_started_on_the_host_alone(served: Served) -> None:
    two, _ = served
    two.ssh("systemctl start llm-phase1.target", timeout=300)
    serves_phase_1(two)
    assert two.ssh("llm-phase", check=False).returncode == 3  # by hand: not on record, and not for the next boot
    two.ssh("llm-phase 2", timeout=600)
    serves_phase_2(two)
    two.ssh("llm-phase 1", timeout=300)
    serves_phase_1(two)
    assert two.ssh("llm-phase 1").stdout.startswith("Phase 1 serves already")
    two.reboot()
    serves_phase_1(two)
    assert two.ssh("llm-phase").stdout.startswith("serving     Phase 1\non record   Phase 1\nnext boot   Phase 1")
    vision = started_at(two, "ollama-vision.service")
    said = two.ssh("llm-phase 2 --by alice", timeout=600).stdout
    serves_phase_2(two)
    assert "ollama-vision.service   active       -> active, untouched" in said
    assert "by alice" in two.ssh("llm-phase log -n 1").stdout
    assert started_at(two, "ollama-vision.service") == vision
