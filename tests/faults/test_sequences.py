"""Random sequences of what operators, power and bad luck do to one host: after each step the promises hold, in the end it serves.

The same over a played host, with thousands of sequences, is in tests/unit/phase; here are a few, with real systemd and files.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Host
from tests.faults.promises import assert_promises_kept
from tests.faults.runs import Record, assert_unchanged_by_a_second_run, converge, disturb_after, next_version
from tests.faults.watch import Watch
from tests.lab.deployments import Operator
from tests.lab.test_deploy import serves_phase_1, serves_phase_2

STEPS = 9
LONGEST_S = 30.0  # until the power goes in a run
BREAKS = (
    "systemctl kill --signal=SIGKILL --kill-whom=all vllm",
    "systemctl kill --signal=SIGSTOP --kill-whom=all ollama-adapter",
    "systemctl stop ollama-adapter.socket ollama-adapter vllm ollama-text",
    "rm -f /etc/llm/vllm.yaml /etc/llm/adapter.toml",
    "systemctl start llm-phase1.target",
)


class Steps:
    """What can happen to the host; each method is a step, and says what it did."""

    def __init__(self, host: Host, a: Operator, b: Operator, chance: random.Random) -> None:
        self.host, self.a, self.b, self.chance = host, a, b, chance

    def deploy_a(self) -> str:
        converge(self.a, self.host)
        serves_phase_2(self.host)
        return "deploy A"

    def deploy_b(self) -> str:
        converge(self.b, self.host)
        serves_phase_2(self.host)
        return "deploy B"

    def rollback(self) -> str:
        done = self.a.rollback(hosts=[self.host])
        assert done.status == 0, done.output
        serves_phase_1(self.host)
        return "rollback"

    def release_before(self) -> str:
        """Back to the good release before this one, where there is one."""
        done = self.a.rollback("--data", "to=previous", hosts=[self.host])
        if done.status:
            assert "no good release before the one in place" in done.output, done.output
            return "rollback to=previous, refused: there is none"
        return "rollback to=previous"

    def breaks(self) -> str:
        what = self.chance.choice(BREAKS)
        self.host.ssh(what, check=False, timeout=300)
        return what

    def reboot(self) -> str:
        self.host.reboot()
        return "reboot"

    def cut(self) -> str:
        """In the middle of a run, or of nothing when that is quicker."""
        who, name = self.chance.choice(((self.a, "deploy A"), (self.b, "deploy B"), (self.a, "rollback")))
        moment = self.chance.uniform(1, LONGEST_S)
        playbook = "rollback.py" if name == "rollback" else "deploy.py"
        disturb_after(who, self.host, playbook, moment, self.host.cut)
        self.host.cut()
        self.host.lab.up([self.host.name])
        return f"cut {moment:.0f} s into {name}"


@pytest.mark.parametrize(
    "nth", [pytest.param(n, marks=pytest.mark.fault(f"a random sequence of nine steps, {n}")) for n in (1, 2)]
)
def test_a_random_sequence(
    host: Host, operator: Operator, chance: random.Random, record: Record, nth: int, tmp_path: Path
) -> None:
    steps = Steps(host, operator, next_version(operator, tmp_path), chance)
    every: list[Callable[[], str]] = [
        steps.deploy_a, steps.deploy_b, steps.rollback, steps.release_before, steps.breaks, steps.reboot, steps.cut
    ]  # fmt: skip
    done: list[str] = []
    for _ in range(STEPS):
        step = chance.choice(every)
        print(f"step {len(done) + 1}: {step.__name__}, after {done}", flush=True)
        done.append(step())
        assert_promises_kept(host)
    with Watch(host) as watch:
        converge(operator, host)
        watch.wait_for_text()
    serves_phase_2(host)
    assert_promises_kept(host)
    assert_unchanged_by_a_second_run(operator, host)
    record(f"{', '.join(done)}: promises kept after each; then the plain deploy: Phase 2", watch.text_after())
