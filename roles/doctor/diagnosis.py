"""A diagnosis, a host's list of them, how they are told, and the exit status. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from roles.telling import Words, exit_status, summary

Certainty = Literal["certain", "likely", "possible"]
Verdict = Literal["well", "ill", "unknown"]
ORDER: tuple[Certainty, ...] = ("certain", "likely", "possible")
SUMMARY = {"well": "well", "ill": "with a likely cause", "unknown": "unknown"}
MOST_EVIDENCE = 6


@dataclass(frozen=True)
class Diagnosis:
    """A likely cause. `name` is for machines, `cause` a sentence, `evidence` what it rests on, `remedy` the next command.

    `follows`: names of diagnoses that explain this one where they are made too; then it is told after them.
    Raises ValueError without evidence or remedy: nobody may be left to believe it, or alone with it.
    """

    name: str
    certainty: Certainty
    cause: str
    evidence: tuple[str, ...]
    remedy: str
    follows: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.evidence or not all(line.strip() for line in self.evidence):
            raise ValueError(f"no evidence for {self.name}: {self.cause}")
        if not self.remedy.strip():
            raise ValueError(f"no remedy for {self.name}: {self.cause}")


@dataclass(frozen=True)
class Told:
    """What is known about one host. `reason` says why a verdict is "unknown"; `notes` are for people, and no illness."""

    host: str
    verdict: Verdict
    diagnoses: tuple[Diagnosis, ...] = ()
    notes: tuple[str, ...] = ()
    reason: str = ""


def in_order(diagnoses: Iterable[Diagnosis]) -> tuple[Diagnosis, ...]:
    """Causes before what follows from them, then the more certain first; else as they were made (machine, model, servers)."""
    made = list(dict.fromkeys(diagnoses))
    names = {one.name for one in made}
    follows = {one: any(name in names for name in one.follows) for one in made}
    return tuple(sorted(made, key=lambda one: (follows[one], ORDER.index(one.certainty))))


def judged(host: str, diagnoses: Iterable[Diagnosis], notes: Iterable[str], reason: str = "") -> Told:
    """The verdict on a host. :param reason: why nothing can be said; "" when it could be looked at."""
    if reason:
        return Told(host, "unknown", reason=reason)
    ordered = in_order(diagnoses)
    return Told(host, "ill" if ordered else "well", ordered, tuple(notes))


def as_json(told: Told) -> str:
    """One line for machines: `host`, `verdict`, `reason`, `diagnoses` (name, certainty, cause, evidence, remedy), `notes`."""
    diagnoses = [
        {key: getattr(one, key) for key in ("name", "certainty", "cause", "evidence", "remedy")}
        for one in told.diagnoses
    ]
    return json.dumps(
        {"host": told.host, "verdict": told.verdict, "reason": told.reason, "diagnoses": diagnoses, "notes": told.notes}
    )


def report(told: Told) -> str:
    """The same for people: likely causes, the first to look at first, each with its evidence and what to do."""
    if told.verdict == "unknown":
        return f"{told.host}: unknown: {told.reason}"
    count = len(told.diagnoses)
    lines = [f"{told.host}: {count} likely cause{'s' * (count != 1)}" if count else f"{told.host}: nothing wrong found"]
    for number, one in enumerate(told.diagnoses, 1):
        lines.append(f"  {number}. {one.cause}  ({one.certainty}: {one.name})")
        lines += [f"       {line}" for line in one.evidence[:MOST_EVIDENCE]]
        more = len(one.evidence) - MOST_EVIDENCE
        lines += [f"       … {more} more"] * (more > 0)
        lines.append(f"     -> {one.remedy}")
    return "\n".join([*lines, *(f"  note: {note}" for note in told.notes)])


WORDS = Words(
    report,
    as_json,
    unknown=lambda host, reason: Told(host, "unknown", reason=reason),
    end=lambda told: (summary("doctor", told, SUMMARY), exit_status(told, "well")),
)
