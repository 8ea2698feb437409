"""Going back is what helps: how long it takes, and what may be broken meanwhile."""

from __future__ import annotations

import time

import pytest

from lab import Host
from tests.faults.promises import assert_promises_kept
from tests.faults.runs import Record, assert_unchanged_by_a_second_run, converge, drop_in
from tests.faults.watch import Watch
from tests.lab.deployments import Operator, Result
from tests.lab.test_deploy import serves_phase_1, serves_phase_2, started_at
from tests.lab.vllm_probes import wait_until

GOAL_S = 20.0  # from the command to a served request, models on disk
PATIENCE_S = 15.0  # what an adapter that does not end gets on top
# In vllm.service: the real vLLM with a parent and two relatives whom no signal but SIGKILL ends.
WEDGED = """import os, signal, subprocess, sys, time
for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(one, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        while True:
            time.sleep(60)
subprocess.Popen(sys.argv[1:], restore_signals=False)
while True:
    time.sleep(60)
"""
SQUATTER = "import socket, time; s = socket.create_server(('0.0.0.0', 11434)); time.sleep(100000)"


def rolled_back(host: Host, operator: Operator, *words: str, within_s: float = GOAL_S) -> tuple[Watch, Result]:
    """`rollback.py` until a request was served. Raises AssertionError when it took longer or vision ceased."""
    vision = started_at(host, "ollama-vision.service")
    with Watch(host) as watch:
        done = operator.rollback(*words, hosts=[host])
        assert done.status == 0, done.output
        watch.wait_for_text()
    serves_phase_1(host)
    assert watch.text_after() < within_s
    assert not watch.vision_ceased()
    assert started_at(host, "ollama-vision.service") == vision
    assert assert_promises_kept(host).chosen == 1
    return watch, done


@pytest.mark.fault("nothing: rollback.py")
def test_a_measured_rollback(host: Host, operator: Operator, record: Record) -> None:
    watch, _ = rolled_back(host, operator)
    assert operator.rollback(hosts=[host]).changed == []
    record("Phase 1 served; again: no change", watch.text_after())
    converge(operator, host)
    assert_unchanged_by_a_second_run(operator, host)


@pytest.mark.fault("nothing: llm-phase 1 on the host")
def test_a_measured_switch_on_the_host(host: Host, operator: Operator, record: Record) -> None:
    with Watch(host) as watch:
        host.ssh("llm-phase 1", timeout=120)
        watch.wait_for_text()
    serves_phase_1(host)
    assert watch.text_after() < GOAL_S
    assert_promises_kept(host)
    record("Phase 1 served", watch.text_after())
    converge(operator, host)


@pytest.mark.fault("vLLM crashes at every start, at a rollback")
def test_vllm_in_a_crash_loop(host: Host, operator: Operator, record: Record) -> None:
    drop_in(host, "vllm.service", "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=1\n")
    host.ssh("systemctl restart --no-block vllm")
    wait_until(
        "it is tried again",
        lambda: host.ssh("systemctl show -p NRestarts --value vllm").stdout.strip() not in ("", "0"),
    )
    watch, _ = rolled_back(host, operator)
    record("Phase 1 served", watch.text_after())
    host.ssh("rm -r /run/systemd/system/vllm.service.d; systemctl daemon-reload")
    converge(operator, host)
    serves_phase_2(host)


@pytest.mark.fault("vLLM ignores every signal but SIGKILL and has children, at a rollback")
def test_a_wedged_vllm(host: Host, operator: Operator, record: Record) -> None:
    host.ssh("cat > /usr/local/lib/llm/fault-wedged.py", stdin=WEDGED)
    run = "/usr/bin/python3 /usr/local/lib/llm/fault-wedged.py /opt/llm/vllm/current/bin/vllm serve --config /etc/llm/vllm.yaml"
    drop_in(host, "vllm.service", f"[Service]\nExecStart=\nExecStart={run}\n")
    host.ssh("systemctl restart vllm", timeout=400)
    serves_phase_2(host)
    watch, done = rolled_back(host, operator)
    assert "killed, with no answers left to make: vllm.service" in done.output
    assert host.ssh("pgrep -f fault-wedged.py", check=False).returncode == 1
    assert host.ssh("pgrep -u vllm", check=False).returncode == 1
    record("killed with its children, without patience; Phase 1 served", watch.text_after())
    host.ssh("rm -r /run/systemd/system/vllm.service.d /usr/local/lib/llm/fault-wedged.py; systemctl daemon-reload")
    converge(operator, host)


@pytest.mark.fault("the adapter is stopped dead (SIGSTOP), at a rollback")
def test_a_wedged_adapter(host: Host, operator: Operator, record: Record) -> None:
    host.ssh("systemctl kill --signal=SIGSTOP --kill-whom=all ollama-adapter")
    watch, _ = rolled_back(host, operator, within_s=GOAL_S + PATIENCE_S)
    record("Phase 1 served", watch.text_after())
    converge(operator, host)


@pytest.mark.fault("a foreign process takes 11434 from the adapter")
def test_a_foreign_process_on_11434(host: Host, operator: Operator, record: Record) -> None:
    host.ssh("systemctl stop ollama-adapter.socket ollama-adapter.service")
    host.ssh(["systemd-run", "--quiet", "--unit=squatter", "python3", "-c", SQUATTER])
    wait_until("it listens", lambda: "11434" in host.listening or "0.0.0.0:11434" in host.listening)
    refused = operator.deploy(hosts=[host])
    assert refused.status == 1
    assert "systemctl disable --now squatter.service" in refused.output
    back = operator.rollback(hosts=[host])
    assert back.status == 1
    assert "address already in use" in back.output
    assert_promises_kept(host)
    assert host.ssh("systemctl is-active squatter").stdout.strip() == "active"
    with Watch(host) as watch:
        host.ssh("systemctl stop squatter")
        again = operator.rollback(hosts=[host])
        assert again.status == 0, again.output
        watch.wait_for_text()
    record(
        "deploy and rollback failed and named it; once it was gone, rollback.py again: Phase 1 served",
        watch.text_after(),
    )
    converge(operator, host)


@pytest.mark.fault("a deploy hangs and has the host, at a rollback with lock=break")
def test_two_operators(host: Host, operator: Operator, record: Record) -> None:
    run = operator.named("alice@laptop").start("--yes", playbook="tests/lab/only_sleep.py", hosts=[host])
    try:
        wait_until(
            "alice has the host",
            lambda: "alice" in host.ssh("cat /run/llm/lock; pgrep -x sleep", check=False).stdout,
            60,
        )
        told = operator.named("bob@desk").rollback(hosts=[host])
        assert told.status == 1
        assert "locked: alice@laptop" in told.output
        watch, _ = rolled_back(host, operator.named("bob@desk"), "--data", "lock=break")
    finally:
        run.kill()
        run.communicate(timeout=60)
    assert "lock broken" in host.ssh("llm-phase log -n 4").stdout
    time.sleep(1)
    record("bob was told who has it; with lock=break Phase 1 served, both names on record", watch.text_after())
    converge(operator, host)
