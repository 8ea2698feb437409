"""Runs of pyinfra that are disturbed, and the plain one that must put everything right."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from lab import Host
from tests.lab.deployments import Operator, Result

ADAPTER = "files/adapter/src/ollama_adapter/__init__.py"
HUB_ELSEWHERE = "/var/lib/llm/hub-elsewhere"
OTHER_HUB = ("--data", f"vllm.hub_cache={HUB_ELSEWHERE}")  # the model has to come once more
DROP_IN = "/run/systemd/system/{unit}.d/fault.conf"


class Record(Protocol):
    """Says what came of the fault of this test; see `record` in conftest.py."""

    def __call__(self, what_happened: str, seconds: float | None) -> None: ...


def converge(operator: Operator, host: Host, *words: str) -> float:
    """Seconds that a plain deploy takes. Raises AssertionError with what it printed when it fails."""
    begun = time.monotonic()
    done = operator.deploy(*words, hosts=[host])
    assert done.status == 0, done.output
    return time.monotonic() - begun


def assert_unchanged_by_a_second_run(operator: Operator, host: Host) -> None:
    again = operator.deploy(hosts=[host])
    assert again.status == 0, again.output
    assert again.changed == []


def disturb_after(
    operator: Operator, host: Host, playbook: str, seconds: float, disturb: Callable[[], None]
) -> float | None:
    """Begin a run and disturb it after so many seconds; it is then killed. The moment; None when the run was quicker."""
    run = operator.start("-y", playbook=playbook, hosts=[host])
    try:
        run.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        moment = time.monotonic()
        disturb()
        run.kill()
        run.communicate(timeout=60)
        return moment
    return None


def drop_in(host: Host, unit: str, text: str) -> None:
    """Change a unit until the next test."""
    path = DROP_IN.format(unit=unit)
    host.ssh(f"mkdir -p {path.rpartition('/')[0]} && cat > {path} && systemctl daemon-reload", stdin=text)


def next_version(operator: Operator, folder: Path) -> Operator:
    """Somebody whose adapter no host has yet; `folder` must be another one each time, as a test's own is."""
    somebody = operator.of_next_version(folder)
    with (folder / ADAPTER).open("a") as source:
        source.write(f"# {folder} at {time.time()}\n")
    return somebody


def last_step(result: Result) -> str:
    """The step that failed."""
    return result.failed[-1] if result.failed else "no step"
