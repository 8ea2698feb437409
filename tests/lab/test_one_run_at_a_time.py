"""Two people and one host: the second is told who is at it, and a run that died, or is ended on purpose, leaves nothing locked."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from lab import Host
from tests.lab.deployments import Operator

pytestmark = pytest.mark.lab
LOCK = "/run/llm/lock"


@pytest.fixture(scope="module")
def host(make_host: Callable[..., Host]) -> Host:
    """A bare host: the lock is taken before anything of ours is there."""
    return make_host("locked-phase1")


def base(operator: Operator, host: Host, *words: str, name: str = "bob@desk") -> tuple[int, str]:
    """A run of somebody else that only sets up the base."""
    done = operator.named(name).pyinfra("--yes", *words, playbook="tests/lab/only_base.py", hosts=[host])
    return done.status, done.output


def hold(operator: Operator, host: Host) -> subprocess.Popen[str]:
    """A run that has the host and sleeps."""
    is_free(host)
    run = operator.named("alice@laptop").start("--yes", playbook="tests/lab/only_sleep.py", hosts=[host])
    end = time.monotonic() + 60
    while host.ssh(f"grep -q alice@laptop {LOCK} && pgrep -x sleep", check=False).returncode != 0:
        assert time.monotonic() < end, run.communicate(timeout=10)
        time.sleep(0.2)
    return run


def test_a_second_operator_is_told_who_and_since_when_and_changes_nothing(operator: Operator, host: Host) -> None:
    first = hold(operator, host)
    try:
        status, said = base(operator, host)
        assert status == 1
        assert "locked: alice@laptop (pyinfra only_sleep.py), since 20" in said
        assert f"--limit {host.name} --data lock=break" in said
        assert host.ssh("test -e /etc/llm", check=False).returncode == 1
    finally:
        end(first)
        host.ssh("pkill -x sleep", check=False)


def test_ctrl_c_leaves_nothing_locked(operator: Operator, host: Host) -> None:
    first = hold(operator, host)
    first.send_signal(signal.SIGINT)
    output, _ = first.communicate(timeout=90)
    assert "Exiting upon user request" in output
    is_free(host, within_s=60)  # pyinfra waits for the command that it began, or leaves it behind


def test_a_controller_that_is_killed_has_the_host_until_the_command_it_began_has_ended(
    operator: Operator, host: Host
) -> None:
    first = hold(operator, host)
    end(first)
    time.sleep(2)
    status, said = base(operator, host)
    assert status == 1
    assert "locked: alice@laptop (pyinfra only_sleep.py), since 20" in said
    assert "which is gone; what it began still runs: pid " in said
    assert "sleep 30" in said
    host.ssh("pkill -x sleep")
    is_free(host)


def end(run: subprocess.Popen[str]) -> None:
    """Without a chance to clean up."""
    run.kill()
    run.communicate(timeout=60)


def is_free(host: Host, within_s: float = 20) -> None:
    end = time.monotonic() + within_s
    while host.ssh(f"test ! -e {LOCK} || flock -n {LOCK} true", check=False).returncode != 0:
        assert time.monotonic() < end, host.ssh(f"cat {LOCK}").stdout
        time.sleep(0.2)


def test_a_lock_is_broken_when_asked_for_with_both_names_on_record_and_the_other_run_changes_nothing_more(
    operator: Operator, host: Host
) -> None:
    host.ssh("rm -f /root/after")
    first = hold(operator, host)
    status, said = base(operator, host, "--data", "lock=break")
    assert status == 0, said
    (entry,) = [json.loads(line) for line in host.ssh("cat /var/lib/llm/audit.jsonl").stdout.splitlines()]
    assert entry["result"] == "lock broken"
    assert entry["by"].startswith("bob@desk")
    assert entry["detail"].startswith("alice@laptop (pyinfra only_sleep.py), since ")
    output, _ = first.communicate(timeout=90)
    assert "somebody broke the lock" in output
    assert first.returncode != 0
    assert host.ssh("test -e /root/after", check=False).returncode == 1
