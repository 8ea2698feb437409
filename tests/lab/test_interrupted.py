"""A run that is killed in the middle, in several ways, on one host: the next plain run converges."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Host
from tests.lab.deployments import Operator, press_ctrl_c
from tests.lab.test_deploy import serves_phase_2, serves_vision
from tests.lab.test_one_run_at_a_time import is_free
from tests.lab.test_refusals import mirror_fault

pytestmark = pytest.mark.lab


@pytest.mark.slow
def test_a_run_cut_and_interrupted_and_fed_rubbish_converges_in_the_end(
    operator: Operator, make_host: Callable[..., Host]
) -> None:
    host = make_host("broken")

    # The power goes while vLLM is being installed.
    operator.deploy_until("vLLM | Install vLLM", [host], lambda process: host.cut())
    operator.lab.up([host.name])
    assert host.ssh("ls /opt/llm/vllm/*/.complete", check=False).returncode != 0

    # The operator presses Ctrl-C at the same place. pyinfra may wait for the command it began, or leave it behind.
    said = operator.deploy_until("vLLM | Install vLLM", [host], press_ctrl_c)
    assert "Exiting upon user request" in said
    assert host.ssh("ls /etc/systemd/system/vllm.service", check=False).returncode != 0  # nothing after it was begun
    is_free(host, within_s=300)  # the command that was left behind has the host until it has ended

    # The archive arrives damaged: found before it is unpacked, and not kept.
    with mirror_fault(operator, {"path": "/ollama/releases/download/v0.32.15/ollama-linux", "corrupt_at": 5000}):
        damaged = operator.deploy(hosts=[host])
    assert damaged.status == 1
    assert damaged.failed == ["Ollama | Install Ollama"]
    assert "is the checksum of http" in damaged.output
    assert host.ssh("ls /opt/llm/ollama/*/bin/ollama /var/cache/llm/ollama/*.zst", check=False).stdout == ""

    # The hub breaks off in the middle of the weights: what came is kept, and the download goes on from there.
    with mirror_fault(operator, {"site": "hub", "path": "/meta-llama", "close_after": 500_000, "times": 2}):
        result = operator.deploy(hosts=[host])
    assert result.status == 0, result.output
    serves_phase_2(host)
    serves_vision(host)
    assert operator.deploy(hosts=[host]).changed == []
