"""One host as a case: its settings beside everything that was seen of it, and what every diagnosis asks of that. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from roles.doctor.symptoms import Answer, Line, Symptoms, Unit
from roles.facts.evidence import Evidence
from roles.facts.survey import Listener
from roles.hidden import hidden_in_prose
from roles.layout import VLLM, VLLM_MODEL, VLLM_VISION, VLLM_VISION_MODEL
from roles.site import Site
from roles.telling import Refusal
from roles.vllm.settings import VllmServer
from roles.vllm_model import ModelShape

GIB = 1 << 30
OLD_S = 30 * 60  # of a unit that is not up: lines so much older than its last one are another story
NEVER = Unit("not-found", "inactive", "dead", "", 0, 0, 0, 0.0, 0.0)
LAST_WORDS = r"(?:^|\s)(?:\w+\.)*\w*(?:Error|Exception): .+"
QUOTED = 160  # characters of a line in evidence


@dataclass(frozen=True)
class Case:
    """A host. `status`: what llm-phase says, {} where it is not there; `clock_ahead_s`: the host's before the controller's.

    `about`: which of its vLLMs is looked at, by the section of its settings. `shape`: of the text model, where its files tell.
    """

    host: str
    site: Site
    seen: Symptoms
    machine: Evidence
    listeners: Sequence[Listener]
    status: Mapping[str, Any]
    refusals: Sequence[Refusal] = ()
    clock_ahead_s: float = 0.0
    about: Literal["vllm", "vllm_vision"] = "vllm"
    shape: ModelShape | None = None

    @property
    def engine(self) -> str:
        """The unit of the vLLM that is looked at."""
        return VLLM if self.about == "vllm" else VLLM_VISION

    @property
    def download(self) -> str:
        """The unit that fetches its model."""
        return VLLM_MODEL if self.about == "vllm" else VLLM_VISION_MODEL

    @property
    def server(self) -> VllmServer:
        """Its settings."""
        return self.site.vllm if self.about == "vllm" else self.site.vllm_vision

    @property
    def revision(self) -> str | None:
        """The commit of its model."""
        return self.site.model_revision if self.about == "vllm" else self.site.vision_model_revision

    @property
    def name(self) -> str:
        """Its unit as one types it."""
        return self.engine.removesuffix(".service")

    def unit(self, name: str) -> Unit:
        """Its state; that of a unit that was never there where systemd does not know it."""
        return self.seen.units.get(name, NEVER)

    def answer(self, name: str) -> Answer:
        return self.seen.answers.get(name, Answer(0, "", "not asked", 0.0))

    def lines(self, unit: str) -> tuple[Line, ...]:
        """What it said since its last start, when that was a fresh one or has succeeded; else also in the tries before it.

        Nothing of a unit that was stopped: what it said before that ails nobody now.
        """
        lines = self.seen.journal.get(unit, ())
        state = self.unit(unit)
        if not lines or state.active == "inactive":
            return ()
        fresh = state.is_up or (state.is_starting and not state.restarts)
        begin = state.began - 1 if fresh and state.began else lines[-1].time - OLD_S
        return tuple(line for line in lines if line.time >= begin)

    def said(self, unit: str, pattern: str) -> tuple[Line, re.Match[str]] | None:
        """The last of these lines that the pattern is found in, and the match."""
        return next(self._matches(unit, pattern), None)

    def last_error(self, unit: str) -> Line | None:
        """The last line in its journal that names an exception, whatever became of the unit since."""
        errors = (line for line in reversed(self.seen.journal.get(unit, ())) if re.search(LAST_WORDS, line.text))
        return next(errors, None)

    def _matches(self, unit: str, pattern: str) -> Iterator[tuple[Line, re.Match[str]]]:
        expression = re.compile(pattern)
        for line in reversed(self.lines(unit)):
            if match := expression.search(line.text):
                yield line, match

    @property
    def wants_phase_2(self) -> bool:
        """Whether vLLM should run: by what serves now, else by the inventory."""
        return (self.status.get("serving") or self.site.phase) == 2

    @property
    def deploy(self) -> str:
        """What puts the host back."""
        return f"pyinfra inventory deploy.py -y --limit {self.host}"

    @property
    def back(self) -> str:
        """What has text served again at once."""
        return f"pyinfra inventory rollback.py -y --limit {self.host}"


def quote(unit: str, line: Line) -> str:
    """A line of the journal as evidence, without secrets and timestamps of the service itself."""
    text = re.sub(r"^\(\w+ pid=\d+\) |\b(?:INFO|WARNING|ERROR) \d\d-\d\d \d\d:\d\d:\d\d ", "", line.text).strip()
    return f"{unit.removesuffix('.service')}: {hidden_in_prose(text, QUOTED)}"


def gib(size: float) -> str:
    """Bytes for people."""
    return f"{size / GIB:.1f} GiB"


def for_people(seconds: float) -> str:
    """ "45 s", "12 min", "3.1 h"."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def who_listens(one: Listener) -> str:
    """The holder of a port."""
    unit = f", {one.unit}" if one.unit else ""
    return f"{one.command or 'a process outside this view'} (pid {one.pid}{unit}) on {one.address}"


def how_to_end(one: Listener) -> str:
    """The command that frees its port."""
    if one.command == "docker-proxy":
        return f"docker ps --filter publish={one.port} names the container: docker stop it"
    if one.unit.endswith((".service", ".socket")):
        return f"systemctl disable --now {one.unit}"
    return f"ss -ltnp 'sport = :{one.port}' names the process: end it"
