"""The lock of a host goes with the process that holds it, tells who that is, and is broken only when asked for."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roles.run_lock import LOOK, SCRIPT, Changing
from tests.unit.phase.played_host import modules

Hold = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hold:
    """Start the host's program as an operator's run does; its files are below `tmp_path`."""
    text = SCRIPT.read_text().replace("/run/llm", str(tmp_path)).replace("/var/lib/llm", str(tmp_path))
    text = text.replace("SIGN_OF_LIFE_S = 30\n", "SIGN_OF_LIFE_S = 0.2\n")
    locks = modules()["locks"]
    for name, file in (
        ("RUN_LOCK", "lock"),
        ("SWITCH_LOCK", "switch.lock"),
        ("AUDIT", "audit.jsonl"),
        ("AT_WORK", "at-work"),
    ):
        monkeypatch.setattr(locks, name, str(tmp_path / file))

    def start(owner: str, token: str, how: str = "respect") -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", text, owner, token, how], stdout=subprocess.PIPE, text=True)

    return start


def wait_until_held(folder: Path, token: str) -> None:
    end = time.monotonic() + 20
    while not ((folder / "lock").exists() and f"run {token}" in (folder / "lock").read_text()):
        assert time.monotonic() < end
        time.sleep(0.02)


def close(run: subprocess.Popen[str]) -> int:
    """What a connection that ends does: the other end of standard output is closed."""
    assert run.stdout is not None
    run.stdout.close()
    return run.wait(20)


def test_a_second_run_is_told_who_and_since_when(hold: Hold, tmp_path: Path) -> None:
    first = hold("alice@laptop (pyinfra deploy.py)", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    second = hold("bob@desk (pyinfra rollback.py)", "bbbb")
    said, _ = second.communicate(timeout=20)
    assert second.returncode == 5
    assert said.startswith("alice@laptop (pyinfra deploy.py), since 20")
    assert close(first) == 0
    third = hold("bob@desk (pyinfra rollback.py)", "cccc")
    wait_until_held(tmp_path, "cccc")
    close(third)


def test_a_controller_that_dies_leaves_nothing_locked(hold: Hold, tmp_path: Path) -> None:
    first = hold("alice", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    first.kill()
    first.communicate()
    second = hold("bob", "bbbb")
    wait_until_held(tmp_path, "bbbb")
    close(second)


def test_a_holder_gives_signs_of_life_so_that_a_controller_that_vanished_without_a_word_is_found_out(
    hold: Hold, tmp_path: Path
) -> None:
    first = hold("alice", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    assert first.stdout is not None
    assert [first.stdout.readline() for _ in range(3)] == ["\n"] * 3
    assert close(first) == 0


def test_a_lock_is_broken_only_when_asked_for_and_that_is_on_record(hold: Hold, tmp_path: Path) -> None:
    first = hold("alice (pyinfra deploy.py)", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    second = hold("bob (pyinfra rollback.py)", "bbbb", "break")
    wait_until_held(tmp_path, "bbbb")
    said, _ = first.communicate(timeout=20)
    assert first.returncode == 6
    assert "somebody broke the lock" in said
    (entry,) = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert entry["result"] == "lock broken"
    assert entry["by"] == "bob (pyinfra rollback.py)"
    assert entry["detail"].startswith("alice (pyinfra deploy.py), since ")
    close(second)


def test_a_switch_is_part_of_the_run_that_has_the_lock_and_of_no_other(hold: Hold, tmp_path: Path) -> None:
    locks = modules()["locks"]
    run = hold("alice (pyinfra deploy.py)", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    with locks.host_locked("alice", "pyinfra deploy.py 2", "aaaa"):
        pass
    for token in (None, "bbbb"):
        with pytest.raises(locks.Locked, match="alice"), locks.host_locked("bob", "llm-phase 1", token):
            pass
    assert "run aaaa" in (tmp_path / "lock").read_text(), "it still says whose it is"
    close(run)
    with locks.host_locked("bob", "llm-phase 1"):
        pass


def test_a_switch_outlives_the_run_that_began_it_and_keeps_others_out(hold: Hold, tmp_path: Path) -> None:
    locks = modules()["locks"]
    run = hold("alice (pyinfra deploy.py)", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    with locks.host_locked("alice", "pyinfra deploy.py 2", "aaaa"):
        run.kill()  # her laptop is gone, the switch goes on
        run.communicate()
        with pytest.raises(locks.Locked, match="alice"), locks.host_locked("bob", "llm-phase 1"):
            pass
        second = hold("bob (pyinfra rollback.py)", "bbbb")
        said, _ = second.communicate(timeout=20)
        assert second.returncode == 5
        assert said.startswith("alice (pyinfra deploy.py 2)")


def test_breaking_ends_the_switch_too(hold: Hold, tmp_path: Path) -> None:
    program = (
        "import fcntl, time\n"
        f"file = open({str(tmp_path / 'switch.lock')!r}, 'w')\n"
        "fcntl.flock(file, fcntl.LOCK_EX)\n"
        "print('alice (pyinfra deploy.py 2)', file=file, flush=True)\n"
        "print('held', flush=True)\n"
        "time.sleep(60)\n"
    )
    switch = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert switch.stdout is not None
    assert switch.stdout.readline() == "held\n"
    locks = modules()["locks"]
    with locks.host_locked("bob", "llm-phase 1", breaking=True):
        assert switch.wait(20) != 0
    switch.stdout.close()


def test_a_reader_of_the_lock_is_nobody_who_holds_it(hold: Hold, tmp_path: Path) -> None:
    locks = modules()["locks"]
    (tmp_path / "lock").write_text(f"alice, since yesterday, pid {os.getpid()}\n")
    with (tmp_path / "lock").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        assert locks.holder_of(str(tmp_path / "lock")) is None
        locks.break_locks("bob")  # kills nobody


def test_a_free_lock_says_nothing_of_who_had_it(hold: Hold, tmp_path: Path) -> None:
    locks = modules()["locks"]
    with locks.host_locked("alice", "llm-phase 2"):
        assert "alice (llm-phase 2), since 20" in (tmp_path / "lock").read_text()
    assert (tmp_path / "lock").read_text() == ""


def test_who_is_changing_the_host_is_told_without_taking_its_lock(hold: Hold, tmp_path: Path) -> None:
    def look() -> str | None:
        text = SCRIPT.read_text().replace("/run/llm", str(tmp_path))
        done = subprocess.run([sys.executable, "-c", LOOK, text], capture_output=True, text=True, check=True)
        return Changing().process(done.stdout.splitlines())

    assert look() is None
    assert not (tmp_path / "lock").exists()
    run = hold("alice@laptop (pyinfra deploy.py)", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    before = (tmp_path / "lock").read_text()
    assert (look() or "").startswith("alice@laptop (pyinfra deploy.py), since 20")
    assert (tmp_path / "lock").read_text() == before
    close(run)
    assert look() is None


def test_who_is_at_work_is_noted_until_the_run_has_ended_in_order(hold: Hold, tmp_path: Path) -> None:
    run = hold("alice@laptop (pyinfra deploy.py)", "aaaa")
    wait_until_held(tmp_path, "aaaa")
    end = time.monotonic() + 20
    while not (tmp_path / "at-work").exists():
        assert time.monotonic() < end
        time.sleep(0.02)
    assert (tmp_path / "at-work").read_text().startswith("alice@laptop (pyinfra deploy.py), since 20")
    run.kill()  # the power goes
    run.communicate(timeout=20)
    assert (tmp_path / "at-work").exists()
    again = hold("bob@desk (pyinfra deploy.py)", "bbbb")
    wait_until_held(tmp_path, "bbbb")
    assert close(again) == 0
    assert (tmp_path / "at-work").exists() == bool(unfinished_packages())


def unfinished_packages() -> str:
    """What dpkg of this machine says of packages that are half installed."""
    return subprocess.run(["dpkg", "--audit"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize(
    ("status", "said", "stays"), [(0, b"", False), (0, b" libcuda1 is half installed", True), (1, b"", True)]
)
def test_the_note_stays_while_packages_are_half_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, said: bytes, stays: bool
) -> None:
    locks = modules()["locks"]
    monkeypatch.setattr(locks, "AT_WORK", str(tmp_path / "at-work"))
    done = subprocess.CompletedProcess(["dpkg"], status, said, b"")
    monkeypatch.setattr(locks.subprocess, "run", lambda *words, **options: done)
    locks.begin_work("alice")
    locks.end_work()
    assert (tmp_path / "at-work").exists() == stays
