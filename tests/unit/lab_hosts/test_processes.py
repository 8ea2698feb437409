"""Whose process is whose, and that no signal goes astray."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from lab import processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize(
    ("cgroup", "mine"),
    [
        ("8:pids:/llm-0a-gpu1\n", True),
        ("0::/user.slice/llm-0a-gpu1/host/payload/init.scope\n", True),
        ("0::/system.slice/llm-0a-gpu1.service/labd\n", True),
        ("4:memory:/session/llm-0a-gpu1/system.slice/ssh.service\n9:name=systemd:/\n", True),
        ("0::/llm-0a-gpu10\n", False),
        ("0::/xllm-0a-gpu1\n", False),
        ("0::/\n", False),
        ("9:name=llm-0a-gpu1:/\n", False),
    ],
)
def test_a_process_belongs_to_a_host_by_the_whole_name_of_its_cgroup(cgroup: str, mine: bool) -> None:
    assert processes.belongs_to(cgroup, "llm-0a-gpu1") is mine


def test_a_process_name_with_brackets_and_spaces_does_not_confuse_the_start_time() -> None:
    fields = " ".join(["S", *(str(n) for n in range(4, 53))])
    assert processes.parse_stat(f"42 (a) b (c)) {fields}") == ("S", 22)


def test_a_stale_record_of_a_process_reaches_nobody(sleeper: subprocess.Popen[bytes]) -> None:
    now = processes.read(sleeper.pid)
    assert now is not None
    stale = replace(now, started_ticks=now.started_ticks - 1)  # the pid was another process's before
    assert processes.send(stale, signal.SIGKILL) is False
    assert sleeper.poll() is None
    assert processes.send(now, signal.SIGKILL) is True
    assert sleeper.wait() == -signal.SIGKILL


def test_a_process_that_has_ended_is_not_read() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
    assert processes.read(ended.pid) is None
    ended.wait()
    assert processes.read(ended.pid) is None


@pytest.mark.parametrize(
    ("pids", "is_init"), [((4000, 1), True), ((4000, 7), False), ((4000, 30, 1), False), ((1,), False)]
)
def test_only_pid_one_of_the_guest_itself_is_its_init(pids: tuple[int, ...], is_init: bool) -> None:
    assert processes.Process(4000, 1, pids, ("systemd",)).is_guest_init is is_init


def test_a_guest_process_with_the_supervisors_name_is_not_the_supervisor() -> None:
    argv = ("python3", "-m", processes.SUPERVISOR_MODULE)
    assert processes.Process(4000, 1, (4000,), argv).is_supervisor
    assert not processes.Process(4000, 1, (4000, 50), argv).is_supervisor
