"""A host for Phase 1 alone: two Ollama servers, nothing of vLLM on its disk; and the preflight that looks without touching."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from lab import Host
from tests.lab.deployments import Operator
from tests.lab.test_refusals import untouched

pytestmark = pytest.mark.lab
ALONE = ("--data", "prepare=phase1", "--data", "phase=1")


def test_preflight_alone_says_what_is_there_and_touches_nothing(
    operator: Operator, make_host: Callable[..., Host]
) -> None:
    host = make_host("alone-phase1")
    with untouched(host):
        done = operator.pyinfra("--dry", "--data", "report=json", playbook="preflight.py", hosts=[host])
    assert done.status == 0, done.output
    said = json.loads(next(line for line in done.output.splitlines() if line.startswith('{"host"')))
    assert said["host"] == host.name
    assert said["refused"] is False
    assert {"severity", "about", "fact", "remedy"} == set(said["findings"][0])


def test_preflight_ends_with_status_1_for_a_host_that_would_be_refused(
    operator: Operator, make_host: Callable[..., Host]
) -> None:
    host = make_host("alone-phase1")
    with untouched(host):
        done = operator.pyinfra("--dry", "--data", "gpu=nvidia", playbook="preflight.py", hosts=[host])
    assert done.status == 1
    assert "no NVIDIA card on the PCI bus" in done.output


def test_a_host_for_phase_1_alone_serves_it_and_has_nothing_of_vllm(
    operator: Operator, make_host: Callable[..., Host]
) -> None:
    host = make_host("alone-phase1")
    first = operator.deploy(*ALONE, hosts=[host])
    assert first.status == 0, first.output
    host.ssh("/usr/local/lib/llm/llm-ready ollama --port 11434 --model llama3.2 --timeout 60")
    assert json.loads(host.ssh("cat /var/lib/llm/state.json").stdout).keys() == {"phase", "ollama", "release", "good"}
    absent = "test ! -e /opt/llm/vllm -a ! -e /opt/llm/adapter -a ! -e /etc/systemd/system/llm-phase2.target"
    assert host.ssh(absent, check=False).returncode == 0
    second = operator.deploy(*ALONE, hosts=[host])
    assert second.changed == [], second.output
    back = operator.rollback(*ALONE, hosts=[host])
    assert back.status == 0, back.output
    assert back.changed == []


def test_verification_knows_that_it_is_for_phase_1_alone(operator: Operator, make_host: Callable[..., Host]) -> None:
    host = make_host("alone-phase1")
    done = operator.with_settings("alone", {"phase": 1, "prepare": "phase1"}).verify(host)
    assert done.returncode == 0, done.stdout
    assert "passed" in done.stdout
