"""What a host says about itself, as typed values. The host script gathers, this module reads; nobody judges here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand

SCRIPT = Path(__file__).parent / "host" / "symptoms.py"
MOST_S = 120  # a file system that hangs, or a server that dribbles, ends the look
NO_SMI = "no nvidia-smi"  # as in the script: nothing to ask inside a container


@dataclass(frozen=True)
class Question:
    """A URL of the host itself. `body` makes it a POST of JSON; `token_file`: on the host, "" for none.

    `listener`: with a token the command that must have the port, or nobody gets it; a unit's socket counts as that.
    """

    name: str
    url: str
    body: str = ""
    token_file: str = ""
    listener: str = ""
    seconds: float = 10.0


@dataclass(frozen=True)
class Answer:
    """What came back. `status` 0 and an `error` when nothing did; `text` is its beginning."""

    status: int
    text: str
    error: str
    seconds: float

    @property
    def timed_out(self) -> bool:
        return not self.status and "timed out" in self.error

    def object(self) -> dict[str, Any]:
        """Its content; {} where that is no JSON object."""
        try:
            found = json.loads(self.text)
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}

    def models(self) -> list[dict[str, Any]] | None:
        """What Ollama lists in it; None where it lists nothing."""
        found = self.object().get("models")
        return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else None


@dataclass(frozen=True)
class Unit:
    """A unit as systemd knows it. Times in seconds since 1970, 0.0 where it never happened. `began`: its last start."""

    load: str
    active: str
    sub: str
    result: str
    restarts: int
    exit_status: int
    pid: int
    began: float
    changed: float

    @property
    def is_up(self) -> bool:
        return self.active == "active"

    @property
    def is_starting(self) -> bool:
        return self.active == "activating" and self.sub != "auto-restart"


@dataclass(frozen=True)
class Line:
    """A line of the journal: seconds since 1970, syslog priority (3 and less: errors), text."""

    time: float
    priority: int
    text: str


@dataclass(frozen=True)
class Folder:
    """The file system below a folder. Sizes in bytes."""

    device: int
    total: int
    free: int
    inodes: int
    inodes_free: int
    read_only: bool


@dataclass(frozen=True)
class Container:
    """A container that runs. `variables`: those that were asked for; `cards`: what nvidia-smi says in it, "" if it has none."""

    name: str
    service: str
    health: str
    restarts: int
    network: str
    extra_hosts: tuple[str, ...]
    variables: Mapping[str, str]
    wants_cards: bool
    cards: str


@dataclass(frozen=True)
class Symptoms:
    """One look. `now`: the host's own clock; `synchronised`: None where systemd does not say; `compiler`: "" for none.

    `addresses`: the host's own, and its names.
    """

    now: float
    units: Mapping[str, Unit]
    journal: Mapping[str, tuple[Line, ...]]
    kernel: tuple[str, ...]
    answers: Mapping[str, Answer]
    folders: Mapping[str, Folder]
    memory_total: int
    memory_available: int
    synchronised: bool | None
    compiler: str
    containers: tuple[Container, ...]
    addresses: frozenset[str]


def parse_symptoms(raw: Mapping[str, Any]) -> Symptoms:
    """The script's JSON object as typed values. Raises KeyError, TypeError or ValueError for anything else."""
    booted = raw["now"] - raw["monotonic"]
    return Symptoms(
        now=float(raw["now"]),
        units={name: _unit(seen, booted) for name, seen in raw["units"].items()},
        journal={unit: tuple(Line(*line) for line in lines) for unit, lines in raw["journal"].items()},
        kernel=tuple(raw["kernel"]),
        answers={name: Answer(**seen) for name, seen in raw["answers"].items()},
        folders={path: Folder(**seen) for path, seen in raw["folders"].items()},
        memory_total=raw["memory"]["total"],
        memory_available=raw["memory"]["available"],
        synchronised=raw["synchronised"],
        compiler=raw["compiler"],
        addresses=frozenset(raw["addresses"]),
        containers=tuple(
            Container(
                name=seen["name"],
                service=seen["labels"].get("service", ""),
                health=seen["health"],
                restarts=seen["restarts"],
                network=seen["network"],
                extra_hosts=tuple(seen["extra_hosts"]),
                variables=seen["variables"],
                wants_cards=seen["wants_cards"],
                cards=seen["cards"],
            )
            for seen in raw["containers"]
        ),
    )


def _unit(seen: Mapping[str, str], booted: float) -> Unit:
    def time_of(key: str) -> float:
        microseconds = int(seen.get(key) or 0)
        return booted + microseconds / 1e6 if microseconds else 0.0

    return Unit(
        load=seen.get("LoadState", ""),
        active=seen.get("ActiveState", ""),
        sub=seen.get("SubState", ""),
        result=seen.get("Result", ""),
        restarts=int(seen.get("NRestarts") or 0),
        exit_status=int(seen.get("ExecMainStatus") or 0),
        pid=int(seen.get("MainPID") or 0),
        began=time_of("InactiveExitTimestampMonotonic"),
        changed=time_of("StateChangeTimestampMonotonic"),
    )


class HostSymptoms(FactBase["Symptoms | None"]):
    """The look; None where the host has no python3, or says nothing that we understand.

    :param units: whose state and last lines. :param folders: whose file systems. :param variables: of containers, by name.
    """

    @staticmethod
    def default() -> Symptoms | None:
        return None

    def command(
        self, units: Sequence[str], folders: Sequence[str], variables: Sequence[str], questions: Sequence[Question]
    ) -> StringCommand:
        asked = {
            "units": list(units),
            "folders": list(folders),
            "variables": list(variables),
            "questions": [vars(question) for question in questions],
        }
        script = SCRIPT.read_text(encoding="utf-8")
        limit = ("timeout", "-k", "5", str(MOST_S))
        words = (QuoteString(script), QuoteString(json.dumps(asked)))
        return StringCommand(*limit, "python3", "-c", *words, "2>/dev/null", "||", "true")

    def process(self, output: list[str]) -> Symptoms | None:
        try:
            return parse_symptoms(json.loads("".join(output)))
        except (ValueError, KeyError, TypeError):
            return None
