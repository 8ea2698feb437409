"""doctor.py as an operator and a program type it, on fake hosts: its exit status, what it prints, and that it runs nothing."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.plan.conftest import Pyinfra, Run
from tests.plan.fake_deployed import deployed
from tests.plan.fake_hosts import fake_host, in_phase

FOR_MACHINES = ("-y", "--data", "report=json", "inventory", "doctor.py")
UP = {"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Result": "success"}
SERVED = ("vllm.service", "ollama-adapter.service", "ollama-adapter.socket", "ollama-vision.service")
GOOD = {"status": 200, "text": "{}", "error": "", "seconds": 0.01}
ROOM = {"device": 1, "total": 10**12, "free": 10**11, "inodes": 10**7, "inodes_free": 10**6, "read_only": False}


def seen_as(host: dict[str, Any], changing: str = "", **changed: Any) -> dict[str, Any]:
    """The same host, which says of itself that all is well, but for what is changed."""
    tags = {**GOOD, "text": json.dumps({"models": [{"name": "llava:7b"}, {"name": "nomic-embed-text"}]})}
    said = {
        "now": time.time() + 2, "monotonic": 5000.0, "units": {name: {**UP, "Id": name} for name in SERVED},
        "journal": {}, "kernel": [], "folders": {"/": ROOM}, "memory": {"total": 10**11, "available": 10**10},
        "synchronised": True, "compiler": "/usr/bin/gcc", "containers": [], "addresses": [],
        "answers": {name: GOOD for name in ("vllm.service:/health", "vllm.service:a token", "ollama-adapter.service:/ready")}
        | {"ollama-vision.service:/api/tags": tags, "ollama-vision.service:/api/ps": GOOD},
        **changed,
    }  # fmt: skip
    played = {"Gather what a host says about itself": json.dumps(said), "holder_of": changing}
    return {**host, "fake_responses": {**played, **host["fake_responses"]}}


def told(run: Run) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in run.output.splitlines() if line.startswith('{"host"')]
    return {line["host"].removeprefix("@fake/"): line for line in lines}


def test_a_host_that_is_well_and_one_that_is_not(pyinfra: Pyinfra) -> None:
    failed = {
        **{name: {**UP, "Id": name} for name in SERVED[:3]},
        "ollama-vision.service": {"Id": "x", "ActiveState": "failed"},
    }
    hosts = {"well": seen_as(in_phase(deployed(), 2)), "ill": seen_as(in_phase(deployed(), 2), units=failed)}
    run = pyinfra(hosts, *FOR_MACHINES)
    lines = told(run)
    assert (lines["well"]["verdict"], lines["well"]["diagnoses"]) == ("well", []), run.output
    assert [one["name"] for one in lines["ill"]["diagnoses"]] == ["ollama-down"]
    assert "--limit @fake/ill" in lines["ill"]["diagnoses"][0]["remedy"]
    assert run.status == 3
    assert run.output.rstrip().endswith("doctor: 1 well, 1 with a likely cause")


def test_all_well_ends_with_status_0(pyinfra: Pyinfra) -> None:
    run = pyinfra({"gpu-01": seen_as(in_phase(deployed(), 2))}, *FOR_MACHINES)
    assert run.status == 0, run.output


@pytest.mark.parametrize("flags", [("-y",), ("--dry",), ()], ids=lambda flags: " ".join(flags) or "none")
def test_nothing_is_run_and_nothing_is_asked_whatever_the_flags(pyinfra: Pyinfra, flags: tuple[str, ...]) -> None:
    run = pyinfra({"gpu-01": seen_as(in_phase(deployed(), 2))}, *flags, "inventory", "doctor.py")
    assert run.status == 0, run.output
    assert "gpu-01: nothing wrong found" in run.output
    assert "Beginning operation run" not in run.output
    assert "Press enter" not in run.output


def test_a_clock_that_is_wrong_is_seen_against_the_controllers(pyinfra: Pyinfra) -> None:
    late = seen_as(in_phase(deployed(), 2), now=time.time() - 9000, synchronised=False)
    (one,) = told(pyinfra({"gpu-01": late}, *FOR_MACHINES))["gpu-01"]["diagnoses"]
    assert one["name"] == "clock-skew"
    assert one["evidence"][0].startswith("the host's clock is 2.5 h behind")


def test_a_host_that_is_being_changed_is_told_so(pyinfra: Pyinfra) -> None:
    run = pyinfra({"gpu-01": seen_as(in_phase(deployed(), 2), changing="alice (pyinfra deploy.py)")}, *FOR_MACHINES)
    assert told(run)["gpu-01"]["notes"][0].startswith("alice (pyinfra deploy.py), is changing it just now")


def test_a_deploy_that_would_be_refused_is_a_possible_cause(pyinfra: Pyinfra) -> None:
    host = seen_as(in_phase(deployed(), 2))
    host["fake_responses"]["Gather evidence about the machine"] = json.dumps(
        {
            **(raw := json.loads(host["fake_responses"]["Gather evidence about the machine"])),
            "texts": {**raw["texts"], "audit": "x"},
        }
    )
    line = told(pyinfra({"gpu-01": host}, *FOR_MACHINES))["gpu-01"]
    assert [(one["name"], one["certainty"]) for one in line["diagnoses"]] == [("deploy-refused", "possible")], line


def test_hosts_that_cannot_be_looked_at_are_unknown_and_the_others_are_told(pyinfra: Pyinfra) -> None:
    hosts = {"good": seen_as(in_phase(deployed(), 2)), "wrong": fake_host(phaze=1), "mute": in_phase(deployed(), 2)}
    run = pyinfra(hosts, *FOR_MACHINES, ssh={"far": {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_user": "root"}})
    assert run.status == 1, run.output
    lines = told(run)
    assert {name: line["verdict"] for name, line in lines.items()} == {
        "good": "well", "wrong": "unknown", "mute": "unknown", "far": "unknown"
    }  # fmt: skip
    assert "phaze" in lines["wrong"]["reason"]
    assert "python3" in lines["mute"]["reason"]
    assert lines["far"]["reason"].startswith("not reached")
