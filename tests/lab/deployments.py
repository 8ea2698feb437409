"""Deploying in the test lab: pyinfra as an operator types it, and what came of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lab import Host, Lab, mirrored

CHECKOUT = Path(__file__).resolve().parents[2]
PROGRAM = str(Path(sys.executable).parent / "pyinfra")
# One deploy of two fresh hosts takes under three minutes on two idle cores; a busy machine gets ten times that.
TIMEOUT_S = 1800
SUFFIX = os.environ.get("LLM_LAB_TEST_SUFFIX", "test")


@dataclass(frozen=True)
class Result:
    """A finished run of pyinfra; the JSON parts are empty when it was not asked for JSON or did not get that far."""

    status: int
    output: str
    plan: list[dict[str, Any]] = field(default_factory=list)
    results: list[dict[str, Any]] = field(default_factory=list)

    @property
    def changed(self) -> list[str]:
        """Names of the steps that changed a host."""
        return [step["name"] for step in self.results if step["success"]]

    @property
    def failed(self) -> list[str]:
        """Names of the steps that failed. With its last host pyinfra drops its JSON too: then it is the last step begun."""
        if self.results or self.status == 0:
            return [step["name"] for step in self.results if step["error"]]
        return re.findall(r"--> Starting operation: (.*?) *$", self.output, re.MULTILINE)[-1:]

    def planned(self, host: Host) -> list[str]:
        """Names of the steps that would change a host, as `--dry` tells."""
        return [step["name"] for step in self.plan if host.name in step["hosts_with_change"]]


@dataclass(frozen=True)
class Operator:
    """Somebody at the controller, whose inventory is this lab."""

    lab: Lab
    checkout: Path = CHECKOUT
    inventory: str = "lab/inventory"
    name: str = "operator@controller"

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "LLM_LAB_SUFFIX": SUFFIX, "LLM_OPERATOR": self.name}

    def named(self, name: str) -> Operator:
        """Somebody else, with the same checkout and lab."""
        return replace(self, name=name)

    def start(self, *arguments: str, playbook: str, hosts: list[Host]) -> subprocess.Popen[str]:
        """The same as `pyinfra`, without waiting for its end."""
        return subprocess.Popen(
            self._command(arguments, playbook, hosts),
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_ctrl_c,
        )

    def pyinfra(self, *arguments: str, playbook: str = "deploy.py", hosts: list[Host] | None = None) -> Result:
        """`pyinfra lab/inventory deploy.py …` to its end; `hosts` limits the run. Never prompts."""
        done = subprocess.run(
            self._command(arguments, playbook, hosts),
            cwd=self.checkout,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        said = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        results = said.get("results") or {}
        return Result(done.returncode, done.stdout + done.stderr, said.get("plan", []), results.get("operations", []))

    def deploy(self, *arguments: str, hosts: list[Host] | None = None) -> Result:
        return self.pyinfra("--json", "--yes", *arguments, hosts=hosts)

    def dry(self, *arguments: str, hosts: list[Host] | None = None) -> Result:
        return self.pyinfra("--json", "--dry", *arguments, hosts=hosts)

    def rollback(self, *arguments: str, hosts: list[Host] | None = None) -> Result:
        return self.pyinfra("--json", "--yes", *arguments, playbook="rollback.py", hosts=hosts)

    def drift(self, *arguments: str, hosts: list[Host]) -> tuple[int, dict[str, dict[str, Any]], str]:
        """`pyinfra lab/inventory drift.py -y`: its exit status, by host what it tells machines, and what it tells people."""
        return self._look("drift.py", arguments, hosts)

    def doctor(self, *arguments: str, hosts: list[Host]) -> tuple[int, dict[str, dict[str, Any]], str]:
        """The same of doctor.py."""
        return self._look("doctor.py", arguments, hosts)

    def _look(
        self, playbook: str, arguments: tuple[str, ...], hosts: list[Host]
    ) -> tuple[int, dict[str, dict[str, Any]], str]:
        words = ("--yes", "--data", "report=json", *arguments)
        done = subprocess.run(
            self._command(words, playbook, hosts),
            cwd=self.checkout, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        told = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, {one["host"]: one for one in told}, done.stderr

    def deploy_until(
        self,
        step: str,
        hosts: list[Host],
        then: Callable[[subprocess.Popen[str]], object],
        *arguments: str,
        pause_s: float = 1,
    ) -> str:
        """Deploy, and when a step whose name contains `step` has begun, do `then` to the run. Returns what it printed.

        :param pause_s: after the beginning of the step, so that it happens in it, not at its edge.
        Raises AssertionError when the run ended without that step.
        """
        said, reached = "", False
        with self.start("-y", *arguments, playbook="deploy.py", hosts=hosts) as process:
            assert process.stdout is not None
            for line in process.stdout:
                said += line
                if not reached and "Starting operation" in line and step in line:
                    reached = True
                    time.sleep(pause_s)
                    then(process)
            process.wait(TIMEOUT_S)
        assert reached, said
        return said

    def of_next_version(self, folder: Path) -> Operator:
        """Somebody with a checkout in `folder` that has another version of the adapter, and the same lab."""
        for part in ("roles", "files"):
            shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        for part in ("deploy.py", "rollback.py", "config.py", "lab"):
            (folder / part).symlink_to(CHECKOUT / part)
        with (folder / "files/adapter/src/ollama_adapter/__init__.py").open("a") as source:
            source.write("# The next version.\n")
        return replace(self, checkout=folder)

    def with_settings(self, name: str, phase1: dict[str, Any], phase2: dict[str, Any] | None = None) -> Operator:
        """The same person with an inventory of these settings, over the lab's own, by phase."""
        folder = self.lab.directory / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.py").write_text(
            f"import runpy\n_found = runpy.run_path({str(CHECKOUT / 'lab/inventory/hosts.py')!r})\n"
            + "".join(
                f"{group} = [(name, {{**data, **{settings!r}}}) for name, data in _found[{group!r}]]\n"
                for group, settings in (("phase1", phase1), ("phase2", phase2))
                if settings is not None
            )
        )
        return replace(self, inventory=str(folder))

    def verify(self, host: Host, *options: str) -> subprocess.CompletedProcess[str]:
        """The sentences of tests/verify for one host, as any pytest."""
        where = ("--inventory", self.inventory, "--limit", host.name)
        words = ("-q", "-p", "no:cacheprovider", "tests/verify", *where, *options)
        return subprocess.run(
            [sys.executable, "-m", "pytest", *words],
            cwd=self.checkout, env=self.environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def verify_side_by_side(self, *words: str, hosts: list[Host]) -> subprocess.CompletedProcess[str]:
        """`make verify` for these hosts, with further words such as --quick."""
        limits = [word for host in hosts for word in ("--limit", host.name)]
        return subprocess.run(
            [sys.executable, "-m", "tests.verify", "--inventory", self.inventory, *limits, *words],
            cwd=self.checkout, env=self.environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip

    def _command(self, arguments: tuple[str, ...], playbook: str, hosts: list[Host] | None) -> list[str]:
        limits = [word for host in hosts or [] for word in ("--limit", host.name)]
        return [PROGRAM, *arguments, self.inventory, playbook, *limits]


def heed_ctrl_c() -> None:
    """As in a terminal: what a shell starts in the background would pass it over."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)


@contextmanager
def without_a_route(host: Host) -> Iterator[None]:
    """Inside the block the host has no network beyond the lab's own cable. Afterwards it has, also when it was rebooted."""
    host.ssh("ip route del default", check=False)  # a boot may have left none
    assert host.ssh("ip route show default").stdout == ""
    try:
        yield
    finally:
        host.ssh(f"ip route replace default via {host.lab.gateway}")


def releases(host: Host) -> dict[str, Any]:
    """What deploys put on the host, as `llm-phase releases` tells machines."""
    found: dict[str, Any] = json.loads(host.ssh("llm-phase releases --json").stdout)
    return found


def operator_of(lab: Lab) -> Operator:
    """An operator whose lab has its mirrors running."""
    lab.ensure_network()
    mirrored.ensure(lab)
    return Operator(lab)
