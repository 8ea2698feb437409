"""What preflight knows about a host: one survey of it, and the answers that its mirrors give it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyinfra.api import FactBase, QuoteString, StringCommand

SCRIPTS = Path(__file__).parent / "host"


@dataclass(frozen=True)
class Listener:
    """A listening TCP socket and who holds it; `unit` is "" outside systemd's services."""

    address: str
    port: int
    pid: int
    command: str
    unit: str


@dataclass(frozen=True)
class ModelSeen:
    """The text model as the host or the hub has it: the text of its config.json, and the size of each file by path."""

    config: str
    files: dict[str, int]


@dataclass(frozen=True)
class Survey:
    """A host as it is before the first change. Sizes in bytes; `free` by folder, `device` by folder (its file system).

    model: the text model of the wanted revision, where it is on the disk.
    """

    uid: int
    init: str
    os: str
    os_version: str
    codename: str
    arch: str
    python: tuple[int, ...]
    memory: int
    free: dict[str, int]
    device: dict[str, int]
    present: frozenset[str]
    listeners: tuple[Listener, ...]
    model: ModelSeen | None


def parse_survey(raw: dict[str, Any]) -> Survey:
    """The survey script's JSON object as typed values. Raises KeyError or ValueError for anything else."""
    return Survey(
        uid=raw["uid"],
        init=raw["init"],
        os=raw["os"],
        os_version=raw["os_version"],
        codename=raw["codename"],
        arch=raw["arch"],
        python=tuple(int(part) for part in raw["python"].split(".")[:2]),
        memory=raw["memory_bytes"],
        free={folder: found["free"] for folder, found in raw["folders"].items()},
        device={folder: found["mount"] for folder, found in raw["folders"].items()},
        present=frozenset(raw["present"]),
        listeners=tuple(Listener(**found) for found in raw["listeners"]),
        model=ModelSeen(**raw["model"]) if raw["model"] else None,
    )


class HostSurvey(FactBase["Survey | None"]):
    """The survey; None where the host has no python3 or is not one of ours to judge."""

    @staticmethod
    def default() -> Survey | None:
        return None

    def command(self, paths: Sequence[str], folders: Sequence[str], snapshot: str = "") -> StringCommand:
        script = (SCRIPTS / "survey.py").read_text(encoding="utf-8")
        asked = json.dumps({"paths": list(paths), "folders": list(folders), "snapshot": snapshot})
        return StringCommand("python3", "-c", QuoteString(script), QuoteString(asked), "2>/dev/null", "||", "true")

    def process(self, output: list[str]) -> Survey | None:
        try:
            return parse_survey(json.loads("".join(output)))
        except (ValueError, KeyError, TypeError):
            return None


@dataclass(frozen=True)
class Question:
    """A URL to ask from the host. `name` says what the answer decides; `token` is never shown."""

    name: str
    url: str
    token: str | None = None
    method: str = "GET"
    accept: str = ""

    def as_json(self) -> dict[str, str]:
        values = {"name": self.name, "url": self.url, "method": self.method, "accept": self.accept}
        return values | ({"token": self.token} if self.token else {})


@dataclass(frozen=True)
class Answer:
    """What came back: `status` 0 and an `error` when nothing did; header names in lower case."""

    url: str
    status: int
    headers: dict[str, str]
    text: str
    error: str

    @property
    def seen(self) -> str:
        """For a message: what the mirror said."""
        return f"answered {self.status}" if self.status else f"does not answer ({self.error})"


class MirrorAnswers(FactBase[dict[str, Answer]]):
    """Answers by question name. The questions go in over standard input (`_stdin`), because one may carry a token."""

    @staticmethod
    def default() -> dict[str, Answer]:
        return {}

    def command(self) -> StringCommand:
        return StringCommand("python3", "-c", QuoteString((SCRIPTS / "probe.py").read_text(encoding="utf-8")))

    def process(self, output: list[str]) -> dict[str, Answer]:
        return {raw.pop("name"): Answer(**raw) for raw in json.loads("".join(output))}
