"""Every host of the table gets exactly the findings and the steps that somebody read and approved.

`approved/<host>.json` holds them. After a change that is meant:  APPROVE=1 pytest tests/plan/test_scenarios.py; git diff
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.plan.conftest import Pyinfra, Run, in_folder
from tests.plan.scenarios import SCENARIOS

APPROVED = Path(__file__).parent / "approved"
RELEVANT = (
    "Base",
    "NVIDIA",
    "GPU sharing",
    "Docker",
    "Container cards",
    "vLLM | Install",
    "Ollama | Install",
    "Adapter | Install",
    "Consumers | Install",
    "Consumers | Point",
    "Monitoring | Prometheus",
    "Monitoring | Grafana",
    "Phase",
)


def seen(run: Run, name: str) -> dict[str, Any]:
    """What a person needs to see of one host: verdict, findings by gravity, and the steps of the roles around the card."""
    lines = (json.loads(line) for line in run.output.splitlines() if line.startswith('{"host"'))
    report = next(line for line in lines if line["host"] == f"@fake/{name}")
    findings: dict[str, list[str]] = {"error": [], "warning": [], "note": []}
    for found in report["findings"]:
        remedy = f" -> {found['remedy']}" if found["remedy"] else ""
        findings[found["severity"]].append(f"{found['about']}: {found['fact']}{remedy}")
    steps = [step for step in run.steps(name) if step.startswith(RELEVANT)]
    return {"refused": report["refused"], **{f"{key}s": texts for key, texts in findings.items()}, "steps": steps}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """All hosts of the table in one run, as an operator with many hosts would see them."""
    hosts = {name: {**host, "report": "json"} for name, host in SCENARIOS.items()}
    return in_folder(tmp_path_factory.mktemp("scenarios"))(hosts, "--json", "inventory", "deploy.py", "--dry")


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_host_gets_what_was_approved(run: Run, name: str) -> None:
    told = json.dumps(seen(run, name), indent=1, ensure_ascii=False) + "\n"
    file = APPROVED / f"{name}.json"
    if os.environ.get("APPROVE") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text(told, encoding="utf-8")
    assert file.is_file(), f"nobody has approved {name}; APPROVE=1, then read {file}"
    assert json.loads(told) == json.loads(file.read_text(encoding="utf-8"))


def test_nothing_is_approved_for_a_host_that_is_gone() -> None:
    assert {file.stem for file in APPROVED.glob("*.json")} == set(SCENARIOS)


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_refusal_says_what_to_do_and_plans_no_step(run: Run, name: str) -> None:
    host = seen(run, name)
    assert host["refused"] == bool(host["errors"])
    assert all(" -> " in text for text in host["errors"] + host["warnings"])
    assert not host["refused"] or host["steps"] == []
    assert host["refused"] or host["steps"] != []


PLAYED = ("NVIDIA", "GPU sharing", "Docker", "Container cards")
DRIFTED = {
    "deployed": [],
    "deployed-hold-lost": ["NVIDIA | Hold every package of the driver"],
    "deployed-newer-version-wanted": ["NVIDIA | Install the driver, the whole transaction judged first"],
    "deployed-part-upgraded-by-hand": ["NVIDIA | Install the driver, the whole transaction judged first"],
    "deployed-pinned-to-another-branch": ["NVIDIA | Install the driver, the whole transaction judged first"],
    "deployed-daemon-json-by-hand": [
        "Docker | Have Docker run with our keys in daemon.json and all others kept, or undo it"
    ],
    "deployed-blacklist-by-hand": ["NVIDIA | Keep unattended upgrades away from the driver"],
    "deployed-nouveau-came-back": [
        "NVIDIA | Keep nouveau away from the card",
        "NVIDIA | Have the installed driver loaded",
    ],
}


@pytest.mark.parametrize("name", DRIFTED)
def test_of_a_deployed_host_only_what_has_drifted_is_put_right(run: Run, name: str) -> None:
    assert [step for step in run.steps(name) if step.startswith(PLAYED)] == DRIFTED[name]


def test_the_run_fails_because_of_the_refused_and_plans_the_others(run: Run) -> None:
    assert run.status == 1
    assert sum(seen(run, name)["refused"] for name in SCENARIOS) >= 20


def test_every_host_of_the_table_is_judged_alone_as_it_is_among_others(run: Run, pyinfra: Pyinfra) -> None:
    hosts = {"p100-phase-2": {**SCENARIOS["p100-phase-2"], "report": "json"}}
    alone = pyinfra(hosts, "--json", "inventory", "deploy.py", "--dry")
    assert seen(alone, "p100-phase-2")["errors"] == seen(run, "p100-phase-2")["errors"]
