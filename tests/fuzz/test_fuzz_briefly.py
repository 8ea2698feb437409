"""Half a minute of the fuzzing that `make fuzz` does for ten: always the same inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.engine import run_by_chance
from tests.fuzz.findings import Findings
from tests.fuzz.open_findings import OPEN
from tests.fuzz.wire import run_wire


def unknown(findings: Findings) -> dict[str, str]:
    return {kind: text for kind, text in findings.kinds.items() if kind not in OPEN}


@pytest.mark.parametrize(
    ("target", "executions"), [("front", 3000), ("events", 1500), ("upstream", 1500), ("json", 8000)]
)
def test_the_adapter_keeps_its_promises_whatever_comes(target: str, executions: int, tmp_path: Path) -> None:
    findings = Findings(tmp_path, target)
    done = run_by_chance(target, findings, seconds=300, seed=1, executions=executions)
    assert not unknown(findings)
    assert done["executions"] == executions


def test_the_running_program_survives_clients_and_upstreams_that_misbehave(tmp_path: Path) -> None:
    findings = Findings(tmp_path, "wire")
    measured = run_wire(findings, seconds=300, seed=1, batches=2, size=80)
    assert not unknown(findings)
    assert measured.executions == 160
    assert measured.files_after <= measured.files_before
