"""Diagnoses of the text model on its way to the disk, and of its files there. A case in, diagnoses out.

The lines are those of roles/vllm/host/fetch-model and check-model, of urllib's errors, and of safetensors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from roles.doctor.case import Case, for_people, quote
from roles.doctor.diagnosis import Diagnosis

PROGRESS = r"^([\d.]+) of ([\d.]+) GB, ([\d.]+) MB/s, (.+)$"
REFUSED = (
    r"answered (401|403|404)$|GatedRepoError|gated repo|RepositoryNotFound|RevisionNotFound"
    r"|401 Client Error|403 Client Error|404 Client Error"
)
CERTIFICATE = r"CERTIFICATE_VERIFY_FAILED\]?:? ?[^:]*:? ?(.{0,80})|certificate verify failed:? ?(.{0,80})"
UNREACHABLE = (
    r"Name or service not known|Temporary failure in name resolution|Network is unreachable|No route to host|Connection refused"
    r"|Connection reset|timed out|IncompleteRead|Remote end closed"
)
DAMAGED = r"SafetensorError|Error while deserializing header|JSONDecodeError|damaged on this disk|UnpicklingError|invalid load key"
QUIET_S = 60.0


def model_diagnoses(case: Case) -> Iterator[Diagnosis]:
    """Why the model is not there, or not whole."""
    unit = case.unit(case.download)
    if unit.active == "activating":
        yield from on_its_way(case)
    if unit.active in ("activating", "failed"):
        yield from refused(case)
        yield from unreachable(case)
    yield from damaged(case)


def on_its_way(case: Case) -> Iterator[Diagnosis]:
    """A download that runs: how far, how fast, how long still; or that waits for its next try."""
    found = case.said(case.download, PROGRESS)
    if case.unit(case.download).sub == "auto-restart" or found is None:
        return
    line, progress = found
    here, total, rate, left = float(progress[1]), float(progress[2]), float(progress[3]), progress[4]
    quiet = case.seen.now - line.time
    share = f"{here:.2f} of {total:.2f} GB ({here / total:.0%}), {rate:.1f} MB/s" if total else line.text
    if left.startswith("waiting") or quiet > QUIET_S:
        yield Diagnosis(
            "model-stalled",
            "certain",
            "the model's download stands still",
            (share, f"nothing new for {for_people(quiet)}" if quiet > QUIET_S else "waiting for the hub"),
            f"look whether the host reaches {case.site.mirrors.hub}; it is tried again after vllm.download_stall_s "
            f"({case.site.vllm.download_stall_s} s), and what came is kept. To serve meanwhile: {case.back}",
        )
    else:
        yield Diagnosis(
            "model-downloading",
            "certain",
            "vLLM waits for its model, which is being downloaded",
            (f"{share}, {left}",),
            f"wait; journalctl -fu {case.download.removesuffix('.service')} on the host shows it. To serve meanwhile: {case.back}",
        )


def refused(case: Case) -> Iterator[Diagnosis]:
    """The hub's no: a token that is missing or may not, a repository or a revision that is not there."""
    found = case.said(case.download, REFUSED)
    if found is None:
        return
    line, match = found
    evidence = (quote(case.download, line), f"model {case.server.model}, revision {case.revision}")
    if re.search(r"404|NotFound", match.group()):
        yield Diagnosis(
            "model-not-found",
            "certain",
            "the hub does not have this model or revision",
            evidence,
            f"correct {case.about}.model or {case.about}.model_revision (or mirrors.hub: {case.site.mirrors.hub}), "
            f"then: {case.deploy}",
        )
        return
    token = case.site.vllm.hub_token
    yield Diagnosis(
        "hub-token",
        "certain",
        "the hub does not give this model to the host's token, or it has none",
        evidence,
        f"ask for access on the hub's page of {case.server.model}; {token.remedy('hf_…')}, then: {case.deploy}",
    )


def unreachable(case: Case) -> Iterator[Diagnosis]:
    """No network, no name, no trust."""
    if found := case.said(case.download, CERTIFICATE):
        yield Diagnosis(
            "certificate",
            "certain",
            f"the host does not trust the certificate of {case.site.mirrors.hub}",
            (quote(case.download, found[0]),),
            "a wrong clock makes it so (timedatectl on the host), or the mirror's own authority is missing: put it below "
            "/usr/local/share/ca-certificates and run update-ca-certificates; it is tried again by itself",
            follows=("clock-skew",),
        )
    elif found := case.said(case.download, UNREACHABLE):
        yield Diagnosis(
            "hub-unreachable",
            "likely",
            f"the host does not reach {case.site.mirrors.hub}",
            (quote(case.download, found[0]),),
            f"curl -I {case.site.mirrors.hub} on the host; set mirrors.hub to what it reaches, then: {case.deploy}. What came is "
            f"kept. To serve meanwhile: {case.back}",
        )


def damaged(case: Case) -> Iterator[Diagnosis]:
    """Files that are there and wrong, as vLLM finds them."""
    if case.unit(case.engine).is_up:
        return
    if found := case.said(case.engine, DAMAGED):
        yield Diagnosis(
            "model-damaged",
            "certain",
            "a file of the model is damaged on this host's disk",
            (quote(case.engine, found[0]),),
            f"rm -r {case.site.vllm.hub_cache}/.complete on the host, then: {case.deploy}; every file is compared, and "
            f"what differs is fetched anew. To serve meanwhile: {case.back}",
            follows=("disk-full", "disk-read-only"),
        )
