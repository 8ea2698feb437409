"""Drift: what is not as the inventory says. drift.py looks, this folder judges; nothing on a host is changed.

steps.py       the plan of deploy.py, read and thrown away
facts.py       what the plan does not see: drop-ins, changes by hand, the model's files
comparing.py   findings from both, and from what other roles' facts tell; pure
findings.py    how they are told, and the exit status
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roles.drift.comparing import (
    by_hand_findings,
    drop_in_findings,
    listener_findings,
    model_findings,
    other_listeners,
    phase_findings,
    plan_findings,
    refusal_findings,
    unit_findings,
)
from roles.drift.facts import FileSeen, Look
from roles.drift.findings import Finding
from roles.drift.steps import Step
from roles.facts.survey import Listener
from roles.site import Site
from roles.telling import LOST, UNREADABLE, Refusal, wrong_inventory


@dataclass(frozen=True)
class Seen:
    """Everything that was seen of a host. `refusals`: why deploy.py would not touch it; then it has no steps.

    `status` is what llm-phase says, `files` those that a step would replace, as they are.
    """

    refusals: Sequence[Refusal]
    steps: Sequence[Step]
    files: Mapping[str, FileSeen]
    look: Look
    listeners: Sequence[Listener]
    status: Mapping[str, Any]


def reason_unknown(
    changing: str | None, lost: bool, settings_problems: Sequence[Refusal], look: Look | None, surveyed: bool
) -> str:
    """Why nothing can be said about a host for sure; "" when it was looked at as a whole.

    :param changing: who is changing it just now. :param lost: whether it went away meanwhile.
    :param settings_problems: what is wrong in the inventory about it.
    """
    if lost:
        return LOST
    if settings_problems:
        return wrong_inventory(settings_problems)
    if changing:
        return f"{changing}, is changing it just now; look again when that is over"
    return UNREADABLE if look is None or not surveyed else ""


def differences(host: str, site: Site, seen: Seen) -> tuple[list[Finding], list[str]]:
    """Everything on the host that is not as the inventory says, and notes on what no inventory speaks of."""
    listening = list(listener_findings(host, site, seen.listeners))
    found = [
        *refusal_findings(seen.refusals, {finding.what for finding in listening}),
        *phase_findings(host, site, seen.status),
        *unit_findings(host, site, seen.look, seen.status),
        *drop_in_findings(seen.look),
        *listening,
        *model_findings(host, site, seen.look),
        *by_hand_findings(host, seen.look, seen.steps),
        *plan_findings(host, seen.steps, seen.files, seen.look),
    ]
    notes = other_listeners(site, seen.listeners)
    if seen.refusals:
        notes.append("deploy.py refuses this host, so its steps were not compared; look again when that is gone")
    return found, notes
