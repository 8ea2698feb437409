"""A secret that a command on the controller prints, in a run of pyinfra: asked for once, or refused before anything is planned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plan.conftest import Pyinfra
from tests.plan.fake_hosts import fake_host

SECRET = "hf_planted_by_a_command"
HOSTS = ("gpu-01", "gpu-02", "gpu-03")


@pytest.fixture
def manager(tmp_path: Path) -> Path:
    """A password manager that has one secret, and logs who asks."""
    program = tmp_path / "manager"
    program.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/log\nsleep 0.3\ncat {tmp_path}/store\nexit "${{2:-0}}"\n')
    program.chmod(0o700)
    (tmp_path / "store").write_text(SECRET)
    return program


def planned(pyinfra: Pyinfra, *words: str, flags: tuple[str, ...] = ("--json", "--dry")) -> Any:
    hosts = {name: fake_host(vllm={"hub_token_command": list(words)}) for name in HOSTS}
    return pyinfra(hosts, *flags, "inventory", "deploy.py")


def test_three_hosts_are_planned_with_one_question_to_the_password_manager(pyinfra: Pyinfra, manager: Path) -> None:
    run = planned(pyinfra, str(manager), "show")
    assert run.status == 0, run.output
    for host in HOSTS:
        assert "vLLM | Put the hub token down, for root only" in run.steps(host)
    assert (manager.parent / "log").read_text() == "show\n"
    assert SECRET not in run.output


@pytest.mark.parametrize("playbook", ["deploy.py", "preflight.py"])
def test_one_that_fails_refuses_every_host_with_key_command_and_next_step_after_one_question(
    pyinfra: Pyinfra, manager: Path, playbook: str
) -> None:
    command = [str(manager), "show", "4"]
    hosts = {name: fake_host(vllm={"hub_token_command": command}) for name in HOSTS}
    run = pyinfra(hosts, "--dry", "--debug-all", "-vvv", "inventory", playbook)
    assert run.status == 1
    for host in HOSTS:
        assert f"@fake/{host}: refused, nothing was changed (1 error" in run.output
    lines = run.output.splitlines()
    said = [number for number, line in enumerate(lines) if line.startswith("  error")]
    assert len(said) == len(HOSTS)
    for number in said:
        assert lines[number].split()[1] == "vllm.hub_token_command"
        assert f"`{' '.join(command)}` ended with status 4" in lines[number]
        assert f"run `{' '.join(command)}` on this machine" in lines[number + 1]
    assert (manager.parent / "log").read_text() == "show\n"
    assert SECRET not in run.output


def test_one_that_hangs_is_ended_and_the_host_refused_though_gevent_has_changed_how_processes_are_waited_for(
    pyinfra: Pyinfra, tmp_path: Path
) -> None:
    # The time of the product is a minute: too long for a test.
    (tmp_path / "quick.py").write_text(
        "from roles import secret_sources\nsecret_sources.COMMAND_TIMEOUT_S = 0.5\n"
        "import pathlib\nexec(pathlib.Path('deploy.py').read_text())\n"
    )
    hosts = {name: fake_host(vllm={"hub_token_command": ["sh", "-c", "sleep 61 & wait"]}) for name in HOSTS}
    run = pyinfra(hosts, "--json", "--dry", "inventory", "quick.py")
    assert run.status == 1
    assert run.output.count("had not ended after 0.5 s") == len(HOSTS)


def test_other_obstacles_are_told_together_with_it(pyinfra: Pyinfra) -> None:
    said: dict[str, Any] = {"vllm": {"hub_token_command": ["false"]}, "adapter": {"require_token": True}}
    run = pyinfra({"bad": fake_host(**said)}, "--json", "inventory", "deploy.py", "--dry")
    assert run.status == 1
    errors = [line.split()[1] for line in run.output.splitlines() if line.startswith("  error")]
    assert errors == ["vllm.hub_token_command", "adapter.require_token"]


def test_a_host_of_phase_1_alone_asks_for_no_hub_token(pyinfra: Pyinfra, manager: Path) -> None:
    host = fake_host(phase=1, prepare="phase1", vllm={"hub_token_command": [str(manager), "show"]})
    run = pyinfra({"gpu-01": host}, "--json", "inventory", "deploy.py", "--dry")
    assert run.status == 0, run.output
    assert not (manager.parent / "log").exists()
