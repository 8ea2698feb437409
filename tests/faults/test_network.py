"""The connection to a host breaks, in several ways, while a run is at work; and names do not resolve."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

import pytest

from lab import Host
from tests.faults.promises import assert_promises_kept, look
from tests.faults.runs import Record, assert_unchanged_by_a_second_run, converge, next_version
from tests.faults.watch import Watch
from tests.lab.deployments import Operator, without_a_route
from tests.lab.test_deploy import serves_phase_1, serves_phase_2
from tests.lab.vllm_probes import wait_until

# On the host, a moment later, so that the session that asks for it is over.
END_SESSIONS = "systemd-run --quiet --collect sh -c 'sleep 0.3; pkill -f \"^sshd.*: root\"'"
FREE_WITHIN_S = 150.0


@pytest.mark.fault("ssh session killed while the adapter's next version is installed")
def test_a_session_that_is_killed(host: Host, operator: Operator, record: Record, tmp_path: Path) -> None:
    somebody = next_version(operator, tmp_path)
    with Watch(host) as watch:
        said = somebody.deploy_until(
            "Adapter | Install the adapter", [host], lambda run: host.ssh(END_SESSIONS), pause_s=0.2
        )
        # Between two commands pyinfra ends with its own traceback, and with every other host of the run.
        assert "No hosts remaining" in said or "EOFError" in said, said
        assert_promises_kept(host)
        converge(somebody, host)
    serves_phase_2(host)
    record("the run failed on that host, the lock went with it; the plain deploy went on", watch.text_after())
    converge(operator, host)
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("cable pulled for 20 s while the adapter's next version is installed")
def test_a_cable_that_is_pulled_for_a_while(host: Host, operator: Operator, record: Record, tmp_path: Path) -> None:
    somebody = next_version(operator, tmp_path)

    def pull(run: subprocess.Popen[str]) -> None:
        host.partition()
        threading.Timer(20, host.heal).start()

    said = somebody.deploy_until("Adapter | Install the adapter", [host], pull, pause_s=0.2)
    with Watch(host) as watch:
        watch.wait_for_text()
        assert_promises_kept(host)
        serves_phase_2(host)
    assert "No hosts remaining" not in said, said
    assert_unchanged_by_a_second_run(somebody, host)
    record("the run waited and went on to its end", 20.0)
    converge(operator, host)


@pytest.mark.fault("controller gone without a word (cable pulled, run killed) while it has the host")
def test_a_controller_that_vanishes(host: Host, operator: Operator, record: Record, tmp_path: Path) -> None:
    def vanish(run: subprocess.Popen[str]) -> None:
        host.partition()
        run.kill()
        run.wait()
        # Or this machine's kernel would still tell the host, as soon as the cable is back.
        subprocess.run(["ss", "-K", "dst", host.address, "dport", "=", "22"], check=True, capture_output=True)
        host.heal()

    operator.deploy_until("Docker | ", [host], vanish, pause_s=0.1)
    begun = time.monotonic()
    assert look(host).locked, "the host was to believe that the run goes on"
    told = operator.deploy(hosts=[host])
    assert told.status == 1
    assert "locked: operator@controller (pyinfra deploy.py), since 20" in told.output
    wait_until("the host notices", lambda: not look(host).locked, FREE_WITHIN_S)
    free = time.monotonic() - begun
    assert_promises_kept(host)
    converge(operator, host)
    serves_phase_2(host)
    record(
        f"a second run was told who has the host; after {free:.0f} s it was free by itself; the plain deploy went on",
        0.0,
    )


@pytest.mark.fault("no name resolves and no route leads out, at a rollback")
def test_names_that_do_not_resolve(host: Host, operator: Operator, record: Record) -> None:
    host.ssh("cp /etc/resolv.conf /root/resolv.conf; echo nameserver 192.0.2.1 > /etc/resolv.conf")
    try:
        with without_a_route(host), Watch(host) as watch:
            done = operator.rollback(hosts=[host])
            assert done.status == 0, done.output
            watch.wait_for_text()
        serves_phase_1(host)
        assert watch.text_after() < 20
    finally:
        host.ssh("cp /root/resolv.conf /etc/resolv.conf")
    record("Phase 1 served, proved and on record", watch.text_after())
    converge(operator, host)
