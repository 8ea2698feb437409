"""The power goes, or the host reboots: in each phase, and at random moments of a deploy, a rollback and a switch."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import Host
from tests.faults.disk import Disk
from tests.faults.promises import assert_promises_kept, broken_promises, look
from tests.faults.runs import Record, assert_unchanged_by_a_second_run, converge, disturb_after, next_version
from tests.faults.watch import Watch
from tests.lab.deployments import Operator
from tests.lab.test_deploy import serves_phase_1, serves_phase_2, serves_vision

# What an undisturbed run takes here; on a slower machine the power goes earlier in it.
FIRST_S, FORWARD_S, ROLLBACK_S, SWITCH_S = 45.0, 40.0, 8.0, 8.0
SERVES = {1: serves_phase_1, 2: serves_phase_2}


@pytest.fixture(scope="module")
def bare(disk: Disk, make_host: Callable[..., Host]) -> Host:
    """A second host, for the power to go; bare until the first test has deployed it."""
    return make_host("cut-phase2")


@pytest.fixture
def cut_host(bare: Host, operator: Operator) -> Host:
    """It is deployed and serves Phase 2."""
    operator.lab.up([bare.name])
    converge(operator, bare)
    return bare


@pytest.mark.fault("power cut at four random moments of a host's first deploy, one after the other")
def test_the_first_deploy(bare: Host, operator: Operator, chance: random.Random, record: Record) -> None:
    moments = [chance.uniform(1, FIRST_S) for _ in range(4)]
    for moment in moments:
        disturb_after(operator, bare, "deploy.py", moment, bare.cut)
        bare.cut()
        operator.lab.up([bare.name])
        if bare.ssh("test -e /var/lib/llm/state.json", check=False).returncode == 0:
            assert_promises_kept(bare)
    with Watch(bare) as watch:
        converge(operator, bare)
        watch.wait_for_text()
    serves_phase_2(bare)
    serves_vision(bare)
    assert_promises_kept(bare)
    assert_unchanged_by_a_second_run(operator, bare)
    after = ", ".join(f"{moment:.0f}" for moment in moments)
    record(f"cut {after} s after each beginning; the next plain run went on and served", watch.text_after())


@pytest.mark.parametrize(
    "nth",
    [
        pytest.param(n, marks=pytest.mark.fault(f"power cut at a random moment of a deploy forward, {n}"))
        for n in (1, 2, 3)
    ],
)
def test_a_deploy_forward(
    cut_host: Host, operator: Operator, chance: random.Random, record: Record, nth: int, tmp_path: Path
) -> None:
    # Every other one brings a version of the adapter that the host does not run.
    somebody = next_version(operator, tmp_path) if nth % 2 else operator
    cut_host.ssh("llm-phase 1", timeout=120)
    moment = chance.uniform(1, FORWARD_S)
    cut_in_a_run(cut_host, somebody, "deploy.py", moment, 2, record)


@pytest.mark.parametrize(
    "nth",
    [pytest.param(n, marks=pytest.mark.fault(f"power cut at a random moment of a rollback, {n}")) for n in (1, 2, 3)],
)
def test_a_rollback(cut_host: Host, operator: Operator, chance: random.Random, record: Record, nth: int) -> None:
    cut_in_a_run(cut_host, operator, "rollback.py", chance.uniform(1, ROLLBACK_S), 1, record)


def cut_in_a_run(host: Host, operator: Operator, playbook: str, moment: float, wanted: int, record: Record) -> None:
    """Cut, boot, and see the promises kept and the host serve by itself; then the same command, twice."""
    with Watch(host) as watch:
        at = disturb_after(operator, host, playbook, moment, host.cut)
        if at is None:  # the run was quicker than the power
            at = time.monotonic()
            host.cut()
        operator.lab.up([host.name])
        chosen = assert_promises_kept(host).chosen
        watch.wait_for_text()
        until_served = watch.text_after(at)
        assert chosen is not None
        SERVES[chosen](host)
    done = operator.pyinfra("--json", "--yes", playbook=playbook, hosts=[host])
    assert done.status == 0, done.output
    SERVES[wanted](host)
    assert assert_promises_kept(host).chosen == wanted
    again = operator.pyinfra("--json", "--yes", playbook=playbook, hosts=[host])
    assert again.status == 0, again.output
    assert again.changed == []
    record(
        f"cut after {moment:.1f} s; booted and served Phase {chosen}; the same command again: Phase {wanted}",
        until_served,
    )


@pytest.mark.parametrize("phase", [pytest.param(n, marks=pytest.mark.fault(f"reboot in Phase {n}")) for n in (1, 2)])
def test_a_reboot(host: Host, operator: Operator, record: Record, phase: int) -> None:
    host.ssh(f"llm-phase {phase}", timeout=400)
    with Watch(host) as watch:
        host.reboot()
        watch.wait_for_text()
    SERVES[phase](host)
    assert assert_promises_kept(host).chosen == phase
    host.ssh("llm-phase")  # status 0: what is true is what is on record
    record(f"it came up in Phase {phase} by itself", watch.text_after())
    converge(operator, host)


@pytest.mark.parametrize(
    "wanted",
    [pytest.param(n, marks=pytest.mark.fault(f"reboot in the middle of a switch to Phase {n}")) for n in (1, 2)],
)
def test_a_reboot_in_mid_switch(
    host: Host, operator: Operator, chance: random.Random, record: Record, wanted: int
) -> None:
    host.ssh(f"llm-phase {3 - wanted}", timeout=400)
    moment = chance.uniform(0.5, SWITCH_S / wanted)
    with Watch(host) as watch:
        host.ssh(f"systemd-run --quiet --collect --unit=switching llm-phase {wanted}")
        time.sleep(moment)
        assert broken_promises(look(host)) == []
        host.reboot()
        chosen = assert_promises_kept(host).chosen
        watch.wait_for_text()
        assert chosen is not None
        SERVES[chosen](host)
    host.ssh(f"llm-phase {wanted}", timeout=400)
    SERVES[wanted](host)
    assert assert_promises_kept(host).chosen == wanted
    what = f"rebooted after {moment:.1f} s; it came up in Phase {chosen}, which a boot was to bring; the switch again: done"
    record(what, watch.text_after())
    converge(operator, host)
