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
