"""The product beside an inventory of fake hosts, and pyinfra run in it exactly as an operator types it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.plan.fake_hosts import write_inventory

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    "deploy.py",
    "drift.py",
    "doctor.py",
    "preflight.py",
    "rollback.py",
    "config.py",
    "roles",
    "files",
    "requirements.txt",
)


@dataclass(frozen=True)
class Run:
    """A finished command: exit status, what it printed, and the plan when it was asked for as JSON."""

    status: int
    output: str
    plan: list[dict[str, Any]]

    def steps(self, host: str) -> list[str]:
        """Names of the steps that would change this host, in order."""
        name = f"@fake/{host}"
        return [
            step["name"]
            for step in self.plan
            if name in step["hosts_with_change"] + step["hosts_with_conditional_change"]
        ]


Pyinfra = Callable[..., Run]


@pytest.fixture
def pyinfra(tmp_path: Path) -> Pyinfra:
    """`pyinfra(hosts, "inventory", "deploy.py", "--dry")`; the product is linked, the inventory is written."""
    return in_folder(tmp_path)


def in_folder(folder: Path) -> Pyinfra:
    """pyinfra in a folder that links the product and gets the inventory of each run."""
    for part in PARTS:
        (folder / part).symlink_to(ROOT / part)

    def run(
        hosts: dict[str, dict[str, Any]],
        *arguments: str,
        ssh: dict[str, dict[str, Any]] | None = None,
        **environment: str,
    ) -> Run:
        write_inventory(folder / "inventory", hosts, ssh or {})
        kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
        done = subprocess.run(
            [str(Path(sys.executable).parent / "pyinfra"), *arguments],
            cwd=folder,
            env={**kept, "HF_TOKEN": "hf_planted_secret", **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
        )
        # Preflight's own JSON, a line per host, comes before pyinfra's.
        said = "".join(line for line in done.stdout.splitlines() if not line.startswith('{"host"'))
        plan = json.loads(said).get("plan", []) if said.startswith("{") else []
        return Run(done.returncode, done.stdout + done.stderr, plan)

    return run
