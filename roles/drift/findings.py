"""What drift is told as: findings with a remedy each, a verdict by host, and the exit status of the whole look. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

from roles.telling import Words, exit_status, summary

# "plan": a step of deploy.py that would change something and that is no file. "refusal": deploy.py would refuse the host.
Kind = Literal["plan", "file", "drop-in", "unit", "phase", "model", "listener", "refusal"]
Verdict = Literal["none", "drift", "unknown"]
SUMMARY = {"none": "without drift", "drift": "drifted", "unknown": "unknown"}


@dataclass(frozen=True)
class Finding:
    """One thing that is not as the inventory says. `diff`: lines of a file, from what is there to what should be.

    Raises ValueError without a remedy: nobody may be left alone with a finding.
    """

    kind: Kind
    what: str
    expected: str
    found: str
    remedy: str
    diff: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.remedy.strip():
            raise ValueError(f"no remedy for {self.what}: {self.found}")


@dataclass(frozen=True)
class Told:
    """What is known about one host. `reason` says why a verdict is "unknown", `notes` are for people and are no drift."""

    host: str
    verdict: Verdict
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


def judged(host: str, findings: Iterable[Finding], notes: Iterable[str], reason: str = "") -> Told:
    """The verdict on a host. :param reason: why nothing can be said for sure; "" when everything was looked at.

    What was seen while somebody changes the host would be told as drift that is gone in a minute; so it is not told.
    """
    if reason:
        return Told(host, "unknown", reason=reason)
    found = tuple(findings)
    return Told(host, "drift" if found else "none", found, tuple(notes))


def as_json(told: Told) -> str:
    """One line for machines: `host`, `verdict`, `reason`, `findings` (kind, what, expected, found, remedy, diff), `notes`."""
    findings = [asdict(finding) for finding in told.findings]
    return json.dumps(
        {"host": told.host, "verdict": told.verdict, "reason": told.reason, "findings": findings, "notes": told.notes}
    )


def report(told: Told) -> str:
    """The same for people: the verdict first, then each finding with what to do about it."""
    if told.verdict == "unknown":
        return f"{told.host}: unknown: {told.reason}"
    count = len(told.findings)
    verdict = f"drift ({count} finding{'s' * (count != 1)})" if count else "no drift"
    lines = [f"{told.host}: {verdict}"]
    width = max((len(finding.kind) for finding in told.findings), default=0)
    for finding in told.findings:
        indent = f"  {'':{width}}  "
        lines += [f"  {finding.kind:{width}}  {finding.what}", f"{indent}expected  {finding.expected}"]
        lines += [f"{indent}found     {finding.found}", *(f"{indent}  {line}" for line in finding.diff)]
        lines += [f"{indent}-> {finding.remedy}"]
    return "\n".join([*lines, *(f"  note: {note}" for note in told.notes)])


def deploy_command(host: str) -> str:
    """What puts a host back."""
    return f"pyinfra inventory deploy.py -y --limit {host}"


WORDS = Words(
    report,
    as_json,
    unknown=lambda host, reason: Told(host, "unknown", reason=reason),
    end=lambda told: (summary("drift", told, SUMMARY), exit_status(told, "none")),
)
