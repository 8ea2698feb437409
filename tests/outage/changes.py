"""The changes of a host in Phase 2 that clients are watched during, in an order that ends as it began. All of it blocks."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from lab import Host
from tests.lab.deployments import Operator, Result

ADAPTER, VLLM, TEXT = "ollama-adapter.service", "vllm.service", "ollama-text.service"
LIMIT_S = 1200  # of one change; a start of vLLM takes half a minute on two idle cores


class ChangeFailed(Exception):
    """The change itself did not work, so that nothing was measured."""


@dataclass(frozen=True)
class Scene:
    """The host, who deploys to it, and who deploys another version of the adapter."""

    host: Host
    operator: Operator
    next_operator: Operator


@dataclass(frozen=True)
class Change:
    """One kind of change. `do` returns what the host itself said about it, line by line."""

    name: str
    title: str
    do: Callable[[Scene], list[str]]
    starts: str | None = None  # the server that 11434 has to wait for
    streams: int = 0  # how many long answers are on their way meanwhile
    promises: tuple[str, ...] = field(default=())  # of tests.outage.promises
    settles_s: float = 2.0


def start_s(host: Host, unit: str) -> float:
    """How long the last start of a unit took, by systemd's own clock."""
    names = ("InactiveExitTimestampMonotonic", "ActiveEnterTimestampMonotonic")
    shown = host.ssh(["systemctl", "show", *(f"--property={name}" for name in names), unit]).stdout
    found = dict(line.split("=", 1) for line in shown.splitlines())
    began, ended = (int(found[name]) / 1e6 for name in names)
    if not began or ended < began:
        raise ChangeFailed(f"{host.name}: {unit} is not up: {shown.strip()}")
    return ended - began


def _shell(command: str) -> Callable[[Scene], list[str]]:
    def do(scene: Scene) -> list[str]:
        done = scene.host.ssh(command, check=False, timeout=LIMIT_S)
        if done.returncode:
            raise ChangeFailed(f"{scene.host.name}: {command}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout.splitlines()

    return do


def _of_run(result: Result) -> list[str]:
    """The lines of llm-phase in what pyinfra printed."""
    if result.status:
        raise ChangeFailed(f"pyinfra: status {result.status}\n{result.output[-3000:]}")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in result.output.splitlines()]
    return [line.partition("] ")[2] for line in lines if re.search(r"\] +[\d.]+ s  |\] Phase \d serves", line)]


def _deploy_again(scene: Scene) -> list[str]:
    result = scene.operator.deploy(hosts=[scene.host])
    if result.changed:
        raise ChangeFailed(f"the second deploy changed something: {', '.join(result.changed)}")
    return _of_run(result)


def _upgrade(scene: Scene) -> list[str]:
    result = scene.next_operator.deploy(hosts=[scene.host])
    said = _of_run(result)
    if f"Phase | Have {ADAPTER} run with the current inputs" not in result.changed:
        raise ChangeFailed(f"the deploy did not restart the adapter; it changed: {', '.join(result.changed)}")
    return said


def _kill_vllm(scene: Scene) -> list[str]:
    before = _activated(scene.host)
    scene.host.ssh(["systemctl", "kill", "--signal=KILL", VLLM])
    end = time.monotonic() + LIMIT_S
    while _activated(scene.host) in ("0", before):
        if time.monotonic() > end:
            raise ChangeFailed(f"{scene.host.name}: {VLLM} did not come back within {LIMIT_S} s")
        time.sleep(0.5)
    return []


def _activated(host: Host) -> str:
    return host.ssh(["systemctl", "show", "--value", "--property=ActiveEnterTimestampMonotonic", VLLM]).stdout.strip()


def _reboot(scene: Scene) -> list[str]:
    scene.host.reboot()
    return _shell("systemctl start llm-phase2.target vllm.service")(scene)


CHANGES = (
    Change("quiet", "nothing, for comparison", _shell("sleep 10"), promises=("no failure", "vision")),
    Change("deploy-again", "a second deploy without change", _deploy_again, promises=("no failure", "vision")),
    Change(
        "adapter-restart", "adapter restarted", _shell(f"systemctl restart {ADAPTER}"),
        streams=2, promises=("no failure", "whole streams", "vision"),
    ),
    Change(
        "adapter-upgrade", "adapter upgraded by a deploy", _upgrade,
        streams=2, promises=("no failure", "whole streams", "vision"),
    ),
    Change(
        "vllm-restart", "vLLM restarted", _shell(f"systemctl restart {VLLM}"),
        starts=VLLM, streams=2, promises=("reasons", "told streams", "vision"),
    ),
    Change(
        "vllm-kill", "vLLM killed (SIGKILL)", _kill_vllm,
        starts=VLLM, streams=2, promises=("reasons", "told streams", "error lines", "vision"),
    ),
    Change("to-1", "Phase 2 → 1, `llm-phase 1`", _shell("llm-phase 1"), starts=TEXT, promises=("start time", "vision")),
    Change("to-2", "Phase 1 → 2, `llm-phase 2`", _shell("llm-phase 2"), starts=VLLM, promises=("start time", "vision")),
    Change(
        "rollback", "Phase 2 → 1, `rollback.py`",
        lambda scene: _of_run(scene.next_operator.rollback(hosts=[scene.host])),
        starts=TEXT, promises=("start time", "vision"),
    ),
    Change(
        "forward", "Phase 1 → 2, `deploy.py`", lambda scene: _of_run(scene.next_operator.deploy(hosts=[scene.host])),
        starts=VLLM, promises=("start time", "vision"),
    ),
    Change("reboot", "reboot, for information", _reboot, starts=VLLM),
)  # fmt: skip
