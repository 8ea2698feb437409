"""drift.py as an operator and cron type it, on fake hosts: its exit status, what it prints, and that it runs no step."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.plan.conftest import Pyinfra, Run
from tests.plan.fake_deployed import HELD, deployed
from tests.plan.fake_hosts import FRESH, fake_host, holder, in_phase

LOOKED: dict[str, Any] = {"units": {}, "by_hand": {}, "runs_with": {}, "models": {}}
CRON = ("-y", "--data", "report=json", "inventory", "drift.py")


def looked_at(host: dict[str, Any], changing: str = "") -> dict[str, Any]:
    """The same host, which answers the look too. :param changing: what the file of the run lock says, if it is held."""
    # In this order: the first answer whose words are in a command is given, and one program gives the first two.
    played = {'"most_bytes": 1': "{}", "Look at what a deploy does not own": json.dumps(LOOKED), "holder_of": changing}
    return {**host, "fake_responses": {**played, **host["fake_responses"]}}


def told(run: Run) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in run.output.splitlines() if line.startswith('{"host"')]
    return {line["host"].removeprefix("@fake/"): line for line in lines}


def test_a_lost_hold_of_the_driver_is_told_by_the_name_of_the_step_that_puts_it_back(pyinfra: Pyinfra) -> None:
    hosts = {
        "lost": looked_at(in_phase(deployed(held=HELD[1:]), 2)),
        "held": looked_at(in_phase(deployed(), 2)),
    }
    run = pyinfra(hosts, *CRON)
    assert run.status == 3, run.output
    step = "NVIDIA | Hold every package of the driver"
    found = {name: [one for one in line["findings"] if one["what"] == step] for name, line in told(run).items()}
    assert found["held"] == []
    assert found["lost"][0]["kind"] == "plan"
    assert found["lost"][0]["found"] == "deploy.py would do this"
    assert found["lost"][0]["remedy"] == "pyinfra inventory deploy.py -y --limit @fake/lost"


def test_what_drift_tells_is_what_a_dry_deploy_plans(pyinfra: Pyinfra) -> None:
    hosts = {"gpu-01": looked_at(in_phase(deployed(loaded="580.1.1"), 2))}
    dry = pyinfra(hosts, "--json", "inventory", "deploy.py", "--dry").steps("gpu-01")
    assert "NVIDIA | Have the installed driver loaded" in dry
    findings = told(pyinfra(hosts, *CRON))["gpu-01"]["findings"]
    steps = [
        one["what"] if one["kind"] == "plan" else one["expected"] for one in findings if one["kind"] in ("plan", "file")
    ]
    names = [step.removeprefix("as the step ").removesuffix(" writes it").strip("'\"") for step in steps]
    assert names == dry


@pytest.mark.parametrize("flags", [("-y",), ("--dry",), ("-y", "--json")], ids=" ".join)
def test_no_step_is_run_and_nothing_is_asked_whatever_the_flags(pyinfra: Pyinfra, flags: tuple[str, ...]) -> None:
    run = pyinfra({"gpu-01": looked_at(in_phase(deployed(), 2))}, *flags, "inventory", "drift.py")
    assert run.status == 3, run.output
    assert "Beginning operation run" not in run.output
    assert "Starting operation" not in run.output
    assert "Press enter" not in run.output
    assert run.output.rstrip().endswith("drift: 0 without drift, 1 drifted")


def test_a_host_that_is_being_changed_is_unknown(pyinfra: Pyinfra) -> None:
    run = pyinfra({"gpu-01": looked_at(in_phase(deployed(), 2), changing="alice (pyinfra deploy.py)")}, *CRON)
    assert run.status == 1
    line = told(run)["gpu-01"]
    assert (line["verdict"], line["findings"]) == ("unknown", [])
    assert line["reason"].startswith("alice (pyinfra deploy.py), is changing it just now")


def test_an_unreachable_host_and_one_with_wrong_settings_are_unknown_and_the_others_are_told(pyinfra: Pyinfra) -> None:
    hosts = {"good": looked_at(in_phase(deployed(), 2)), "wrong": looked_at(fake_host(phaze=1))}
    run = pyinfra(hosts, *CRON, ssh={"far": {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "root"}})
    assert run.status == 1, run.output
    lines = told(run)
    assert {name: line["verdict"] for name, line in lines.items()} == {
        "good": "drift",
        "wrong": "unknown",
        "far": "unknown",
    }
    assert "did you mean phase?" in lines["wrong"]["reason"]
    assert lines["far"]["reason"].startswith("not reached")


def test_a_host_that_deploy_would_refuse_is_told_why_and_the_port_by_its_holder(pyinfra: Pyinfra) -> None:
    squatted = {**FRESH, "listeners": [holder(11434, "python3", "squatter.service")]}
    run = pyinfra({"gpu-01": looked_at(in_phase(fake_host(squatted), 2))}, *CRON)
    assert run.status == 3, run.output
    line = told(run)["gpu-01"]
    assert [one["found"] for one in line["findings"] if one["what"] == "port 11434"] == ["squatter.service on 0.0.0.0"]
    assert any("its steps were not compared" in note for note in line["notes"])
    assert "refused, nothing was changed" not in run.output


def test_no_report_shows_the_hub_token(pyinfra: Pyinfra) -> None:
    run = pyinfra(
        {"gpu-01": looked_at(fake_host())}, "-y", "-vvv", "--debug", "--data", "report=json", "inventory", "drift.py"
    )
    assert run.status == 3, run.output
    assert "hf_planted_secret" not in run.output
