"""Findings: what preflight thinks of a host, in a form for people, and the rule when they stop it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One observation: how grave, about which key or thing, the fact it rests on, and what to do about it.

    Raises ValueError for an error or a warning without a remedy: nobody may be left alone with one.
    """

    severity: Severity
    about: str
    fact: str
    remedy: str = ""

    def __post_init__(self) -> None:
        if self.severity != "note" and not self.remedy.strip():
            raise ValueError(f"no remedy for the {self.severity} about {self.about}: {self.fact}")


def error(about: str, fact: str, remedy: str) -> Finding:
    return Finding("error", about, fact, remedy)


def warning(about: str, fact: str, remedy: str) -> Finding:
    return Finding("warning", about, fact, remedy)


def note(about: str, fact: str) -> Finding:
    return Finding("note", about, fact)


def refuses(findings: Sequence[Finding]) -> bool:
    """Whether the host must be left as it is."""
    return any(finding.severity == "error" for finding in findings)


def report(host: str, findings: Sequence[Finding], next_command: str) -> str:
    """All findings of a host, gravest first, with the verdict as the first line and the next command as the last."""
    errors = sum(finding.severity == "error" for finding in findings)
    warnings = sum(finding.severity == "warning" for finding in findings)
    verdict = "refused, nothing was changed" if errors else "may be deployed"
    counts = f"{errors} error{'s' * (errors != 1)}, {warnings} warning{'s' * (warnings != 1)}"
    lines = [f"{host}: {verdict} ({counts})"]
    width = max((len(finding.about) for finding in findings), default=0)
    for severity in ("error", "warning", "note"):
        for finding in findings:
            if finding.severity == severity:
                lines.append(f"  {severity:7}  {finding.about:{width}}  {finding.fact}")
                if finding.remedy:
                    lines.append(f"  {'':7}  {'':{width}}  -> {finding.remedy}")
    if errors:
        lines.append(f"then: {next_command}")
    return "\n".join(lines)


def as_json(host: str, findings: Sequence[Finding], next_command: str) -> str:
    """The same for machines, one line: `host`, `refused`, `findings` (severity, about, fact, remedy), `next`."""
    found = [asdict(finding) for finding in findings]
    return json.dumps({"host": host, "refused": refuses(findings), "findings": found, "next": next_command})
