"""The one command of verification, run as an operator types it, where there is no host to reach."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from roles.pins import ROOT


def verify(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "VERIFY_"))}
    command = [sys.executable, "-m", "pytest", "tests/verify", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, timeout=300, check=False
    )


def unreachable(folder: Path) -> Path:
    """An inventory of two hosts: one refuses connections, one has a setting that does not exist."""
    file = folder / "hosts.py"
    refused = {"ssh_hostname": "127.0.0.1", "ssh_port": 1, "ssh_known_hosts_file": str(folder / "known"), "gpu": "none"}
    file.write_text(f'gpu = [("dead-01", {refused!r}), ("typo-01", {{"gpu": "none", "vllm": {{"prot": 1}}}})]\n')
    return file


def test_without_an_inventory_every_check_is_skipped_and_the_reason_is_the_command() -> None:
    done = verify()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" not in done.stdout and "failed" not in done.stdout and " skipped" in done.stdout
    assert "verify hosts with: pytest tests/verify --inventory inventory" in done.stdout


def test_a_host_that_cannot_be_reached_fails_every_check_and_the_other_host_is_judged_for_itself(
    tmp_path: Path,
) -> None:
    done = verify("--inventory", str(unreachable(tmp_path)), "-k", "test_host")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "dead-01 cannot be reached: ssh: connect to host 127.0.0.1 port 1: Connection refused" in done.stdout
    assert "typo-01: its settings are refused:\n  vllm.prot: unknown setting; did you mean vllm.port?" in done.stdout
    assert "passed" not in done.stdout and "skipped" not in done.stdout


def test_the_environment_may_name_the_inventory(tmp_path: Path) -> None:
    done = verify("--limit", "dead-01", "-k", "as_root", VERIFY_INVENTORY=str(unreachable(tmp_path)))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "dead-01 cannot be reached" in done.stdout and "typo-01" not in done.stdout


def test_an_inventory_that_is_not_there_ends_the_run_with_one_line() -> None:
    done = verify("--inventory", "no/such/inventory")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "no/such/inventory: " in done.stderr


def test_an_inventory_without_hosts_is_a_reason_to_skip(tmp_path: Path) -> None:
    (tmp_path / "hosts.py").write_text("gpu: list[str] = []\n")
    done = verify("--inventory", str(tmp_path / "hosts.py"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "names no host" in done.stdout


def side_by_side(*arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTEST_", "VERIFY_"))}
    command = [sys.executable, "-m", "tests.verify", *arguments]
    return subprocess.run(command, cwd=ROOT, env=clean, capture_output=True, text=True, timeout=300, check=False)


def test_hosts_side_by_side_make_one_report_and_each_tells_its_trouble_once(tmp_path: Path) -> None:
    done = side_by_side("--inventory", str(unreachable(tmp_path)), "--reports", str(tmp_path / "r"), "-k", "test_host")
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        done.stdout.count("dead-01 cannot be reached: ssh: connect to host 127.0.0.1 port 1: Connection refused") == 1
    )
    assert "typo-01: its settings are refused:\n    vllm.prot: unknown setting; did you mean vllm.port?" in done.stdout
    assert "verify: 0 of 2 hosts as promised" in done.stdout
    junit, page = ((tmp_path / "r" / name).read_text() for name in ("junit.xml", "report.html"))
    assert '<testsuite name="dead-01"' in junit and '<testsuite name="typo-01"' in junit and "<error " in junit
    assert "Connection refused" in page and "did you mean vllm.port?" in page


def test_a_host_that_nobody_can_judge_is_unknown_to_monitoring(tmp_path: Path) -> None:
    done = side_by_side("--inventory", str(unreachable(tmp_path)), "--limit", "dead-01", "--nagios", "-k", "test_host")
    assert done.returncode == 3, done.stdout + done.stderr
    assert done.stdout.startswith("VERIFY UNKNOWN - 0 of 1 host as promised: dead-01 cannot be reached")
    assert done.stdout.count("\n") == 1
    assert side_by_side("--inventory", "no/such/inventory", "--nagios").returncode == 3


def test_a_wrong_window_ends_both_commands_with_what_is_right() -> None:
    for done in (
        verify("--inventory", "x", "--journal-window", "soon"),
        side_by_side("--inventory", "x", "--journal-window", "soon"),
    ):
        assert done.returncode == 4, done.stdout + done.stderr
        assert "'soon' is no time; write 300, 90s, 5m or 1h" in done.stdout + done.stderr


def test_quick_leaves_out_what_asks_a_model_or_is_slow(tmp_path: Path) -> None:
    def listed(*words: str) -> set[str]:
        done = verify("--inventory", str(unreachable(tmp_path)), "--limit", "dead-01", "--collect-only", "-q", *words)
        return {line.split("::")[-1].split("[")[0] for line in done.stdout.splitlines() if "::" in line}

    left_out = listed() - listed("--quick")
    assert {
        "test_vllm_generates_a_token",
        "test_every_vision_model_answers",
        "test_a_second_deploy_would_change_nothing",
    } <= left_out
    assert "test_vllm_is_healthy" in listed("--quick")
