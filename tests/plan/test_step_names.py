"""A step has one name, whatever hosts are in the run: of several, pyinfra would show all, in no order."""

from __future__ import annotations

from tests.plan.conftest import Pyinfra
from tests.plan.fake_hosts import BOOKWORM, fake_host, in_phase
from tests.plan.fake_machines import L4, NO_CARD, ONE_H100, P100, Machine
from tests.plan.scenarios import OPENS

SWITCH = "Phase | Have the host in its phase; when that does not come up, in the one that served before"
# Of every setting and fact that a role branches on, at least two values.
HOSTS = {
    "phase-2": fake_host(),
    "phase-1": fake_host(machine=ONE_H100, phase=1, docker={"version": "28.0.1"}),
    "phase-1-alone": fake_host(BOOKWORM, machine=Machine((P100,)), phase=1, docker={"source": "distribution"}),
    "no-card": fake_host(
        BOOKWORM,
        machine=NO_CARD,
        gpu="none",
        docker={"source": "none"},
        ollama={"vision": {"models": ["llava:7b"]}},
        monitoring={"stack": True, **OPENS},
    ),
    "another-model": fake_host(
        machine=Machine((L4,) * 2, switches=1),
        vllm={"model": "meta-llama/Llama-2-7b-hf", "tensor_parallel_size": 2},
        ollama={"version": "0.31.0", "sha256": "a" * 64},
        adapter={"require_token": True},
        monitoring={"stack": True, "grafana": {"enabled": False}},
    ),
}


def names(pyinfra: Pyinfra, playbook: str, *which: str) -> set[str]:
    run = pyinfra(
        {name: HOSTS[name] for name in which}, "--json", "inventory", playbook, "--dry", OLLAMA_ADAPTER_TOKEN="t" * 32
    )
    assert run.status == 0, run.output
    return {step["name"] for step in run.plan}


def test_hosts_of_unlike_settings_share_the_names_of_a_deploys_steps(pyinfra: Pyinfra) -> None:
    alone = set().union(*(names(pyinfra, "deploy.py", name) for name in HOSTS))
    batches = {"Phase | Go on with batch 1 only if the hosts before it serve"}
    assert names(pyinfra, "deploy.py", *HOSTS) == alone | batches


def test_hosts_of_unlike_settings_share_the_names_of_a_rollbacks_steps(pyinfra: Pyinfra) -> None:
    hosts = {name: in_phase(host, 1 if "phase-1" in name else 2) for name, host in HOSTS.items()}
    run = pyinfra(hosts, "--json", "inventory", "rollback.py", "--dry")
    assert run.status == 0, run.output
    assert {step["name"] for step in run.plan} == {
        "Have this host to ourselves",
        "Rollback | Have the host in Phase 1, proved and on record",
    }


def test_a_service_is_named_in_its_step_and_the_phase_is_not(pyinfra: Pyinfra) -> None:
    both = names(pyinfra, "deploy.py", "phase-2", "phase-1")
    assert SWITCH in both
    for unit in ("vllm.service", "ollama-text.service", "ollama-vision.service"):
        assert {f"Phase | Have {unit} run with the current inputs", f"Phase | Prove that {unit} serves"} <= both
