"""The disk is full: while software is unpacked, while a model comes, while the state is written, at a rollback."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import Host
from tests.faults.disk import Disk
from tests.faults.promises import assert_promises_kept, broken_promises, look
from tests.faults.runs import (
    HUB_ELSEWHERE,
    OTHER_HUB,
    Record,
    assert_unchanged_by_a_second_run,
    converge,
    last_step,
    next_version,
)
from tests.faults.watch import Watch
from tests.lab.deployments import Operator
from tests.lab.test_deploy import serves_phase_1, serves_phase_2
from tests.lab.test_refusals import mirror_fault
from tests.lab.vllm_probes import wait_until

NO_SPACE = "No space left on device"


@pytest.mark.fault("disk full while the adapter's next version is unpacked")
def test_while_unpacking(host: Host, operator: Operator, disk: Disk, record: Record, tmp_path: Path) -> None:
    somebody = next_version(operator, tmp_path)
    complete = host.ssh("ls /opt/llm/adapter/*/.complete").stdout
    with Watch(host) as watch:
        said = somebody.deploy_until("Adapter | Install the adapter", [host], lambda run: disk.fill(), pause_s=0.2)
        assert NO_SPACE in said.replace("no space", "No space"), said
        assert broken_promises(look(host)) == []
        disk.empty()
        assert_promises_kept(host)
        assert host.ssh("ls /opt/llm/adapter/*/.complete").stdout == complete
        converge(somebody, host)
    serves_phase_2(host)
    assert not watch.vision_ceased()
    record(
        "the deploy failed there, what ran went on; with space again the plain deploy put the new version in",
        watch.text_after(),
    )
    converge(operator, host)
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("disk full while the text model is downloaded")
def test_while_downloading(host: Host, operator: Operator, disk: Disk, record: Record) -> None:
    with Watch(host) as watch, mirror_fault(operator, {"site": "hub", "path": "/meta-llama", "bytes_per_s": 200_000}):
        said = operator.deploy_until(
            "Download the text model", [host], lambda run: fill_when_some_came(host, disk), *OTHER_HUB
        )
        assert f"no space left below {HUB_ELSEWHERE}" in said, said
        assert "what came is kept" in said
        assert broken_promises(look(host)) == []
        disk.empty()
        assert_promises_kept(host)
    assert watch.text_after() == 0
    with Watch(host) as watch:
        converge(operator, host, *OTHER_HUB)
    last = host.ssh("journalctl -u vllm-model -o cat --no-pager | grep ': from byte ' | tail -n 1").stdout
    assert int(last.split("from byte ")[1].split()[0]) > 0, last
    serves_phase_2(host)
    record("the deploy failed there, what ran went on; with space again the download continued where it was", 0.0)
    converge(operator, host)
    host.ssh(f"rm -rf {HUB_ELSEWHERE}")


def fill_when_some_came(host: Host, disk: Disk) -> None:
    wait_until("the model comes", lambda: host.ssh(f"find {HUB_ELSEWHERE} -name '*.part' -size +0").stdout != "", 120)
    disk.fill()


@pytest.mark.fault("disk full while a deploy forward writes the state")
def test_while_writing_the_state(host: Host, operator: Operator, disk: Disk, record: Record) -> None:
    host.ssh("llm-phase 1", timeout=120)
    with Watch(host) as watch:
        said = operator.deploy_until("Phase | Have the host in its phase", [host], lambda run: disk.fill(), pause_s=0.1)
        assert NO_SPACE in said, said
        assert broken_promises(look(host)) == []
        watch.wait_for_text()
        served = host.ssh("llm-phase --json", check=False).stdout
        disk.empty()
        assert_promises_kept(host)
    until_served = watch.text_after()
    converge(operator, host)
    serves_phase_2(host)
    phase = 2 if '"serving": 2' in served else 1
    record(
        f"the run failed and said so, Phase {phase} served with the old record whole; then the plain deploy: Phase 2",
        until_served,
    )
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("disk full at a rollback")
def test_at_a_rollback(host: Host, operator: Operator, disk: Disk, record: Record) -> None:
    with disk.full(), Watch(host) as watch:
        done = operator.rollback(hosts=[host])
        watch.wait_for_text()
        serves_phase_1(host)
        until_served = watch.text_after()
        assert until_served < 20
        assert done.status == 1
        assert "cannot be written down" in done.output
        assert broken_promises(look(host)) == []
        assert not watch.vision_ceased()
    again = operator.rollback(hosts=[host])
    assert again.status == 0, again.output
    assert assert_promises_kept(host).chosen == 1
    record(
        f"Phase 1 served; {last_step(done)!r} failed as it could not be written down; with space again: on record",
        until_served,
    )
    converge(operator, host)
