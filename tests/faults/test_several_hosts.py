"""Three hosts, and the first of them does not take the new release."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lab import Host
from tests.faults.disk import Disk
from tests.faults.runs import Record, drop_in
from tests.faults.watch import Watch
from tests.lab.deployments import Operator, releases
from tests.lab.test_deploy import serves_phase_1, serves_vision, started_at

VISION = "ollama-vision.service"
SMALL = ("--data", "prepare=phase1")  # no vLLM: three hosts on one machine
CHANGED = ("--data", "ollama.vision.num_parallel=2")
REFUSES = f"[Service]\nExecStartPre=+/bin/sh -c '! grep -q OLLAMA_NUM_PARALLEL=2 /etc/systemd/system/{VISION}'\n"


def good(host: Host) -> str:
    found = releases(host)
    assert found["current"] == found["good"]
    return str(found["good"])


@pytest.mark.fault("the first of three hosts does not take a release")
def test_a_canary_that_fails_keeps_the_others_from_changing(
    disk: Disk, make_host: Callable[..., Host], operator: Operator, record: Record
) -> None:
    hosts = [make_host(f"fault-{name}-phase1") for name in ("a", "b", "c")]
    first, *others = hosts
    done = operator.deploy(*SMALL, hosts=hosts)
    assert done.status == 0, done.output
    before, starts = {host: good(host) for host in hosts}, {host: started_at(host, VISION) for host in hosts}

    drop_in(first, VISION, REFUSES)
    with Watch(others[0]) as watch:
        failed = operator.deploy(*SMALL, *CHANGED, hosts=hosts)
    assert failed.status == 1, failed.output
    assert f"going back to release {before[first]}, the last good one" in failed.output
    for host in others:
        assert (
            f"[{host.name}] stopped before this host, whose services are as they were: {first.name} failed"
            in failed.output
        )
        assert started_at(host, VISION) == starts[host]
    assert not watch.vision_ceased()
    for host in hosts:
        assert good(host) == before[host]
        serves_phase_1(host)
        serves_vision(host)
    record("the first went back to its last good release, the others were not changed", watch.text_after())

    first.ssh("rm -rf /run/systemd/system/*.service.d/fault.conf; systemctl daemon-reload")
    mended = operator.deploy(*SMALL, *CHANGED, "--data", "batch=1", hosts=hosts)
    assert mended.status == 0, mended.output
    assert all(good(host) != before[host] for host in hosts)
    assert operator.deploy(*SMALL, *CHANGED, hosts=hosts).changed == []
    back = operator.rollback("--data", "to=previous", hosts=hosts)
    assert back.status == 0, back.output
    assert {host: good(host) for host in hosts} == before
