"""How a machine reads that a reboot is due: pyinfra ends with 1 for everything (docs/operations.md), so the outcome is read."""

from __future__ import annotations

import json
import shlex
from typing import Any

import pytest

from roles.outcomes import OUTCOME_FILE, REBOOT_NEEDED, Outcome, outcome_line
from tests.plan.conftest import Pyinfra
from tests.plan.fake_hosts import fake_host

REASON = "driver 580.182.01 is installed, 580.178.04 is loaded"
NEXT = "systemctl reboot on the host, then: pyinfra inventory deploy.py -y --limit gpu-01"


def host_that_ended_with(outcome: dict[str, str]) -> dict[str, Any]:
    host = fake_host()
    host["fake_responses"] = {f"cat {OUTCOME_FILE}": json.dumps(outcome, indent=1), **host["fake_responses"]}
    return host


def test_one_command_tells_the_outcomes_of_all_hosts_as_json(pyinfra: Pyinfra) -> None:
    ended = {"outcome": REBOOT_NEEDED, "reason": REASON, "next": NEXT, "since": "2026-11-28T18:00:00+00:00"}
    hosts = {"gpu-01": host_that_ended_with(ended), "gpu-02": fake_host()}
    run = pyinfra(hosts, "--json", "inventory", "fact", "roles.outcomes.Outcome")
    assert run.status == 0, run.output
    told, _ = json.JSONDecoder().raw_decode(run.output)  # standard error comes after it here
    assert told["roles.outcomes.Outcome"]["@fake/gpu-01"] == ended
    assert told["roles.outcomes.Outcome"]["@fake/gpu-02"] is None


@pytest.mark.parametrize("reason", [REASON, 'kernel 6.1 wasn\'t built; say "why" $HOME'])
def test_the_line_of_a_run_splits_into_words_as_in_a_shell(reason: str) -> None:
    first, *words = shlex.split(outcome_line("gpu-01", REBOOT_NEEDED, reason, NEXT))
    assert first == "outcome"
    pairs = dict(word.split("=", 1) for word in words)
    assert pairs == {"host": "gpu-01", "result": "reboot-needed", "reason": reason, "next": NEXT}


@pytest.mark.parametrize("text", ["", '{"outcome": "reb', "[]"])
def test_no_file_or_half_of_one_is_no_outcome(text: str) -> None:
    assert Outcome().process(text.splitlines()) is None
