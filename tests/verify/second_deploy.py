"""What a second deploy would do to a host: asked of drift.py, which has deploy.py's own plan and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roles.inventory import from_anywhere
from roles.pins import ROOT

TIMEOUT_S = 600
NOT_PROVED = "its present start has made a token"  # as roles/drift says it


def look(inventory: str, host: str, data: Sequence[str]) -> tuple[str, str]:
    """Run drift.py for one host. Returns what it tells machines, and what it tells people."""
    words = [word for pair in data for word in ("--data", pair)]
    program = str(Path(sys.executable).parent / "pyinfra")
    command = [program, "--yes", "--data", "report=json", *words, from_anywhere(inventory), "drift.py", "--limit", host]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    return done.stdout, done.stderr


def told_of(host: str, output: str) -> dict[str, Any] | None:
    """The host's line in drift.py's output for machines; None when it is not there."""
    for line in output.splitlines():
        if line.startswith("{"):
            told: dict[str, Any] = json.loads(line)
            if told.get("host") == host:
                return told
    return None


def what_is_due(told: dict[str, Any]) -> list[str]:
    """One line for each thing that a second deploy would change, or that has drifted; the command to put it right last.

    After a boot a deploy asks each server for a token, which changes nothing, and which the verification does too.
    """
    found = [one for one in told["findings"] if not _is_a_proof(one)]
    lines = [f"{one['what']}: expected {one['expected']}, found {one['found']}" for one in found]
    return [*lines, found[0]["remedy"]] if lines else []


def _is_a_proof(finding: Mapping[str, str]) -> bool:
    return finding["what"].startswith("Phase | Prove that ") or finding["expected"] == NOT_PROVED
