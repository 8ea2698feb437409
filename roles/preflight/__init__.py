"""Preflight: reads the settings and the host, reports everything that is wrong at once, stops before the first change.

A host that is refused takes no part in the run; the other hosts go on, and the run ends with exit status 1.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pyinfra import host, state
from pyinfra.api import Host

from roles.facts.evidence import Evidence, MachineEvidence
from roles.facts.survey import HostSurvey, MirrorAnswers, Question, Survey
from roles.layout import snapshot
from roles.phases import with_phases_decided
from roles.preflight.card_checks import card_findings
from roles.preflight.findings import Finding, as_json, note, refuses, report
from roles.preflight.host_checks import (
    consumer_findings,
    host_findings,
    password_findings,
    settings_findings,
    token_findings,
    unreadable_secret,
    without_python,
    without_survey,
)
from roles.preflight.mirror_checks import mirror_findings, model_on_hub, model_sizes, questions
from roles.preflight.model_checks import model_findings
from roles.preflight.needs import folders_to_fill, needs, paths_to_look_for
from roles.preflight.system_checks import system_findings
from roles.secret_sources import SecretError, SecretSource, read_secret
from roles.secrets import HiddenLines
from roles.settings import SettingsError
from roles.site import Site, site_from, taken_from_environment

DOCKER = "/usr/bin/dockerd"


@dataclass
class Kept:
    """What preflight saw and made of a host, for a playbook that judges it itself.

    `site` is None where the settings are wrong, `evidence` and `survey` where the host was not, or could not be, looked at.
    """

    site: Site | None = None
    findings: list[Finding] = field(default_factory=list)
    evidence: Evidence | None = None
    survey: Survey | None = None


_kept: dict[str, Kept] = {}  # by host


def keep_findings(host: Host) -> Kept:
    """From now on preflight puts what it finds on this host into what this returns; it says nothing and fails nobody."""
    return _kept.setdefault(host.name, Kept())


def preflight(command: str = "pyinfra inventory deploy.py --dry") -> Site | None:
    """The checked settings of the current host, or None when it is refused (already reported and taken out of the run).

    :param command: what the operator should type when the causes are gone.
    """
    site = settings_of(host, command)
    if site is None:
        return None
    site, findings = examine(site)
    if kept := _kept.get(host.name):
        kept.site, kept.findings = site, findings
        return None if refuses(findings) else site
    findings = [note("environment", line) for line in taken_from_environment(os.environ)] + findings
    if site.report == "json":
        print(as_json(host.name, findings, command), flush=True)
    text = report(host.name, findings, command)
    if refuses(findings):
        refuse(host, text)
        return None
    say(text)
    return site


def settings_of(host: Host, command: str) -> Site | None:
    """The host's settings, or None after reporting every problem in them."""
    try:
        return site_from(layers(host), os.environ)
    except SettingsError as problems:
        found = settings_findings(problems.problems)
        if kept := _kept.get(host.name):
            kept.findings = found
            return None
        then = f"correct the inventory, {command}"
        if any(layer.get("report") == "json" for layer in layers(host)):
            print(as_json(host.name, found, then), flush=True)
        refuse(host, report(host.name, found, then))
        return None


def layers(host: Host) -> list[dict[str, Any]]:
    """The host's data as pyinfra has it, weakest first. Read layer by layer, so that sections merge key by key."""
    inventory = host.inventory
    groups = [dict(inventory.get_group_data(group)) for group in host.groups]
    return [dict(inventory.get_data()), *groups, dict(host.host_data), dict(inventory.get_override_data())]


def examine(site: Site) -> tuple[Site, list[Finding]]:
    """What the host and its mirrors look like, judged; and the settings with what the cards decide."""
    seen: Evidence | None = host.get_fact(MachineEvidence)
    if kept := _kept.get(host.name):
        kept.evidence = seen
    if seen is None:
        return site, [without_python()]
    site = with_phases_decided(site, seen.devices)
    return site, judged(site, seen)


def judged(site: Site, seen: Evidence) -> list[Finding]:
    """All findings about the host; the mirrors are asked for what is missing only."""
    survey: Survey | None = host.get_fact(
        HostSurvey,
        paths=[*paths_to_look_for(site), DOCKER],
        folders=folders_to_fill(site),
        snapshot=snapshot(site).path if site.prepares_phase_2 else "",
    )
    if kept := _kept.get(host.name):
        kept.survey = survey
    if survey is None:
        return [without_survey()]
    token, no_token = secret_or_finding(site.vllm.hub_token, site.prepares_phase_2)
    clients_token, no_clients_token = secret_or_finding(site.adapter.token, site.asks_for_token)
    password, no_password = secret_or_finding(site.monitoring.grafana.password, site.monitoring.shows_dashboards)
    missing = needs(site, survey.present, {})
    asked = questions(site, missing, token, survey.os, survey.os_version, survey.codename, DOCKER in survey.present)
    if no_token:  # what the hub says to a stranger would only be a second error about it
        asked = [question for question in asked if not question.name.startswith("hub")]
    answers = ask(asked) if asked else {}
    missing = needs(site, survey.present, model_sizes(answers))
    return [
        *host_findings(site, survey, missing),
        *consumer_findings(site, survey, DOCKER),
        *system_findings(site, seen, survey.os),
        *card_findings(site, seen, survey.os, survey.os_version),
        *model_findings(site, seen, survey.model or model_on_hub(answers)),
        *no_token,
        *(no_clients_token or token_findings(site, survey, clients_token)),
        *(no_password or password_findings(site, survey, password)),
        *mirror_findings(site, missing, answers, token is not None),
    ]


def secret_or_finding(source: SecretSource, wanted: bool) -> tuple[str | None, list[Finding]]:
    """A secret of the controller, None where there is none or it is not wanted; or why it cannot be read."""
    try:
        return (read_secret(source) if wanted else None), []
    except SecretError as problem:
        return None, [unreadable_secret(problem)]


def ask(asked: Sequence[Question]) -> dict[str, Any]:
    line = json.dumps([question.as_json() for question in asked]) + "\n"
    answers: dict[str, Any] = host.get_fact(MirrorAnswers, _stdin=HiddenLines([line]))
    return answers


def refuse(host: Host, text: str) -> None:
    """Say why and take the host out of this run; pyinfra then ends with exit status 1 and goes on with the others."""
    say(text)
    # By name: inside a deploy file `host` stands for whichever host is current, and pyinfra keeps what it is given here.
    state.fail_hosts({state.inventory.get_host(host.name)})


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
