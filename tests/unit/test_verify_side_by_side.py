"""`python -m tests.verify` from the inventory to the report: its ssh leads to this machine, where systemd's programs are played."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from roles.pins import ROOT

JOURNAL = "No unit of ours has said error lately"
PROGRAMS = {
    "ssh": 'case "$*" in *"-O exit"*) exit 0 ;; esac\nfor last; do :; done\nexec sh -c "$last"\n',
    "systemctl": 'cat "$PLAYED/clock"\n',
    "journalctl": 'cat "$PLAYED/journal"\n',
}


@dataclass(frozen=True)
class Played:
    """Two hosts that are this machine. `folder` holds what their systemd says."""

    folder: Path

    def verify(self, *words: str) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "VERIFY_"))}
        path = f"{self.folder}/bin:{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, "-m", "tests.verify", "--inventory", f"{self.folder}/hosts.py", "-k", "journal or as_root", *words],
            cwd=ROOT, env=clean | {"PATH": path, "PLAYED": str(self.folder)}, capture_output=True, text=True, timeout=300,
        )  # fmt: skip

    def wrote(self, message: str, ago_s: float) -> None:
        at = str(int((time.time() - ago_s) * 1e6))
        entry = {"__REALTIME_TIMESTAMP": at, "_SYSTEMD_UNIT": "vllm.service", "PRIORITY": "6", "MESSAGE": message}
        with (self.folder / "journal").open("a") as journal:
            journal.write(json.dumps(entry) + "\n")


@pytest.fixture
def played(tmp_path: Path) -> Played:
    if os.geteuid() != 0:
        pytest.skip("the played hosts are this machine, and verify wants root on a host")
    for name, text in PROGRAMS.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}")
        program.chmod(0o755)
    (tmp_path / "hosts.py").write_text('gpu = [(name, {"gpu": "none"}) for name in ("gpu-01", "gpu-02")]\n')
    started = int(time.time()) - 1000
    (tmp_path / "clock").write_text(
        f"UserspaceTimestamp=@{started}\n\nId=vllm.service\nNRestarts=0\nInactiveExitTimestamp=@{started}\n"
    )
    (tmp_path / "journal").write_text("")
    return Played(tmp_path)


def test_hosts_that_are_as_promised_make_an_empty_answer_and_two_files(played: Played) -> None:
    played.wrote("INFO 11-29 06:33:12 all is well", 10)
    played.wrote("ERROR 11-29 06:33:12 an old one", 400)
    done = played.verify("--reports", str(played.folder / "r"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("gpu-01: ok (2 true, 0 not, 0 not asked, ")
    assert "\ngpu-02: ok (2 true, " in done.stdout and "\nverify: 2 of 2 hosts as promised, " in done.stdout
    assert (played.folder / "r" / "junit.xml").read_text().count("<testcase ") == 4


def test_an_error_in_a_journal_is_a_warning_with_the_line_and_its_unit(played: Played) -> None:
    played.wrote("ERROR 11-29 06:33:12 [core.py:842] EngineCore encountered a fatal error.", 10)
    done = played.verify("--reports", str(played.folder / "r"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.startswith("gpu-01: warning (1 true, 1 not, 0 not asked, ")
    assert f"  warning  {JOURNAL}\n          gpu-01: expected no error in the journal for 5m, seen 1\n" in done.stdout
    assert "UTC: ERROR 11-29 06:33:12 [core.py:842] EngineCore encountered a fatal error." in done.stdout
    watched = played.verify("--nagios", "--limit", "gpu-02")
    assert watched.returncode == 1, watched.stdout
    assert watched.stdout.startswith(
        f"VERIFY WARNING - 0 of 1 host as promised: gpu-02: {JOURNAL}: NOT SO | hosts=1 passed=1 failed=1 "
    )


def test_the_window_is_the_callers(played: Played) -> None:
    played.wrote("Traceback (most recent call last):", 400)
    assert played.verify("--nagios").returncode == 0
    assert played.verify("--nagios", "--journal-window", "10m").returncode == 1


def test_no_host_waits_for_another(played: Played) -> None:
    # Each host answers only when the other has been asked, too.
    meet = 'case "$*" in *gpu-01*) me=1 other=2 ;; *) me=2 other=1 ;; esac\ntouch "$PLAYED/asked-$me"\nn=0\n'
    wait = 'until [ -e "$PLAYED/asked-$other" ]; do n=$((n+1)); [ $n -lt 300 ] || exit 255; sleep 0.1; done\n'
    (played.folder / "bin" / "ssh").write_text(f"#!/bin/sh\n{meet}{wait}{PROGRAMS['ssh']}")
    assert played.verify("--nagios").stdout.startswith("VERIFY OK - 2 of 2 hosts as promised")
