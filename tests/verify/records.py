"""What came of the checks of one host, as a file that one process writes and another reads. Pure, but for that file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Outcome = Literal["passed", "failed", "skipped"]
Verdict = Literal["ok", "warning", "critical", "unknown"]
# What a Python name cannot say.
AS_WRITTEN = {
    "vllm": "vLLM", "ollama": "Ollama", "ssh": "SSH", "json": "JSON", "phase 1": "Phase 1", "phase 2": "Phase 2",
    "adapters ": "adapter's ", "systemds": "systemd's", "a cards ": "a card's ", "hosts own": "host's own", "roots ": "root's ",
}  # fmt: skip


@dataclass(frozen=True)
class Check:
    """One sentence about the host, and whether it is true.

    `topic`: what it belongs to. `reason`: why it is not so, or why it was not asked. `group`: "quick" or "full".
    `is_warning`: the host serves all the same when it is not so. `is_unknown`: nothing could be seen.
    `note`: figures for people that decide nothing.
    """

    topic: str
    sentence: str
    outcome: Outcome
    reason: str = ""
    seconds: float = 0.0
    group: str = "quick"
    is_warning: bool = False
    is_unknown: bool = False
    note: str = ""


@dataclass(frozen=True)
class HostResult:
    """All checks of one host. `about`: its versions and release. `trouble`: why there is no telling, "" mostly."""

    host: str
    seconds: float = 0.0
    about: Mapping[str, str] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    trouble: str = ""

    def count(self, outcome: Outcome) -> int:
        """How many checks came out so; what is not known counts nowhere."""
        return sum(check.outcome == outcome and not check.is_unknown for check in self.checks)

    @property
    def failed(self) -> list[Check]:
        """What is not so, the worst first. What is not known is told once, for the host."""
        found = [check for check in self.checks if check.outcome == "failed" and not check.is_unknown]
        return sorted(found, key=lambda check: check.is_warning)

    @property
    def unknown_because(self) -> str:
        """Why nothing, or not everything, is known of the host; "" when it is."""
        return self.trouble or next((check.reason for check in self.checks if check.is_unknown), "")

    @property
    def verdict(self) -> Verdict:
        """The worst of what is known; a host of which nothing was asked is unknown too."""
        if any(not check.is_warning for check in self.failed):
            return "critical"
        if self.unknown_because or not self.count("passed") + self.count("failed"):
            return "unknown"
        return "warning" if self.failed else "ok"


def sentence_of(function: str, parameters: str = "") -> str:
    """`test_the_adapter_is_ready` as a sentence; behind it what a check is made once each for."""
    words = function.removeprefix("test_").replace("_", " ")
    for plain, usual in AS_WRITTEN.items():
        words = words.replace(plain, usual)
    sentence = words if words.startswith("vLLM") else words[:1].upper() + words[1:]
    return f"{sentence}: {parameters}" if parameters else sentence


def topic_of(module_doc: str) -> str:
    """What a file of checks is about: the first sentence of its docstring, up to a colon."""
    return module_doc.strip().split("\n")[0].split(":")[0].split(". ")[0].rstrip(".")


def saved(result: HostResult) -> str:
    return json.dumps(asdict(result), indent=1)


def read_result(path: Path) -> HostResult:
    """What `saved` wrote. Raises OSError or ValueError when it is not there, or not whole."""
    raw: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return HostResult(**{**raw, "checks": tuple(Check(**check) for check in raw["checks"])})
