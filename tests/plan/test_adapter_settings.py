"""The adapter's settings in the plan: refused before the first change, or planned without a secret in sight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from roles.layout import ADAPTER_TOKEN
from tests.plan.conftest import Pyinfra
from tests.plan.fake_hosts import FRESH, fake_host

SECRET = "planted-secret-of-the-clients"
PUT_DOWN = "Adapter | Put the clients' token down, for root only"
RESTART = "Phase | Have ollama-adapter.service run with the present token"

REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no process": ({"processes": 0}, "adapter.processes", "not 0"),
    "a replica that is no URL": ({"replicas": ["gpu-02"]}, "adapter.replicas[0]", "not 'gpu-02'"),
    "half a template": ({"fim_template": "{suffix}"}, "adapter.fim_template", "must have {prefix} once"),
    "a misspelt leniency": (
        {"leniency": {"content_part": True}}, "adapter.leniency.content_part", "did you mean adapter.leniency.content_parts?",
    ),
    "a further model without a name": ({"models": [{"url": "http://b:1"}]}, "adapter.models[0].aliases", "field required"),
    "a name of two models": (
        {"models": [{"url": "http://b:1", "aliases": ["llama2"]}]}, "adapter.models[0].aliases", "claimed by vllm.aliases too",
    ),
    "a model directory that no service sees": (
        {"model_directory": "/root/llama"}, "adapter.model_directory", "not below /home, /root or /tmp",
    ),
    "a token file that nobody is asked for": ({"token_file": "/x"}, "adapter.token_file", "require_token is false"),
    "a token file that is not there": (
        {"require_token": True, "token_file": "/nowhere/token"}, "adapter.token_file", "No such file or directory",
    ),
    "a token that nobody has": ({"require_token": True}, "adapter.require_token", "there is no token"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_with_host_key_and_cause(case: str, pyinfra: Pyinfra) -> None:
    said, key, cause = REFUSED[case]
    run = pyinfra({"bad": fake_host(adapter=said)}, "--json", "inventory", "deploy.py", "--dry")
    assert run.status == 1
    assert "@fake/bad: refused, nothing was changed (1 error" in run.output
    line = next(line for line in run.output.splitlines() if line.startswith("  error"))
    assert line.split()[1] == key
    assert cause in line
    assert run.steps("bad") == []


def test_the_clients_token_is_planned_and_no_plan_shows_it(pyinfra: Pyinfra, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(SECRET)
    for said, environment in (
        ({"require_token": True}, {"OLLAMA_ADAPTER_TOKEN": SECRET}),
        ({"require_token": True, "token_command": ["cat", str(file)]}, {}),
        ({"require_token": True, "token_file": str(file)}, {}),
    ):
        for flags in (["--dry", "--debug-operations"], ["--dry", "--diff", "-vvv", "--debug-all"], ["--dry", "--json"]):
            run = pyinfra({"gpu-01": fake_host(adapter=said)}, *flags, "inventory", "deploy.py", **environment)
            assert run.status == 0, run.output
            assert SECRET not in run.output
        steps = run.steps("gpu-01")
        assert steps.index(PUT_DOWN) < steps.index(RESTART)


def test_a_token_that_is_on_the_host_already_need_not_be_on_the_controller(pyinfra: Pyinfra) -> None:
    host = fake_host(FRESH | {"present": [ADAPTER_TOKEN]}, adapter={"require_token": True})
    run = pyinfra({"gpu-01": host}, "--json", "inventory", "deploy.py", "--dry")
    assert run.status == 0, run.output


def test_without_the_setting_there_is_no_token_in_the_plan(pyinfra: Pyinfra) -> None:
    run = pyinfra({"gpu-01": fake_host()}, "--json", "inventory", "deploy.py", "--dry", OLLAMA_ADAPTER_TOKEN=SECRET)
    assert run.status == 0, run.output
    assert not {PUT_DOWN, RESTART} & {*run.steps("gpu-01")}


def test_a_host_with_every_setting_of_the_adapter_is_planned(pyinfra: Pyinfra) -> None:
    said = {
        "processes": 2, "max_requests": 100, "origins": ["https://ui.example"], "keep_alive": "1h", "context": "generated",
        "capabilities": ["completion", "insert"], "fim_template": "<a>{prefix}<b>{suffix}<c>",
        "replicas": ["http://gpu-02:8000"], "model_directory": "/srv/llama", "leniency": {"string_arguments": False},
        "models": [{"url": "http://gpu-03:8000", "aliases": ["codellama"], "served_name": "code"}],
        "max_body_bytes": 2**24, "drain_timeout_s": 60,
    }  # fmt: skip
    run = pyinfra({"gpu-01": fake_host(adapter=said)}, "--json", "inventory", "deploy.py", "--dry")
    assert run.status == 0, run.output
    assert "Adapter | Write the adapter's configuration" in run.steps("gpu-01")
