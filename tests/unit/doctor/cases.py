"""Cases for the doctor's tests: a host that is well, and what is changed about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from roles.doctor import diagnoses
from roles.doctor.case import Case
from roles.doctor.diagnosis import Diagnosis
from roles.doctor.engine import HEALTH, TOKEN
from roles.doctor.servers import LOADED, READY, TAGS
from roles.doctor.symptoms import Answer, Folder, Line, Symptoms, Unit
from roles.facts.evidence import parse_evidence
from roles.facts.survey import Listener
from roles.layout import ADAPTER, ADAPTER_SOCKET, OLLAMA_TEXT, OLLAMA_VISION, VLLM, VLLM_MODEL
from roles.site import site_from
from tests.plan.fake_machines import ONE_H100

VLLM_HEALTH, VLLM_TOKEN, ADAPTER_READY = f"{VLLM}:{HEALTH}", f"{VLLM}:{TOKEN}", f"{ADAPTER}:{READY}"
NOW = 1_795_000_000.0
GB = 10**9
SITE = site_from([{}], {})
UP = Unit("loaded", "active", "running", "success", 0, 0, 4711, NOW - 3600, NOW - 3500)
DOWN = Unit("loaded", "inactive", "dead", "success", 0, 0, 0, NOW - 3600, NOW - 3500)
STARTING = Unit("loaded", "activating", "start-post", "success", 0, 0, 4711, NOW - 40, NOW - 40)
RETRYING = Unit("loaded", "activating", "auto-restart", "exit-code", 3, 1, 0, NOW - 60, NOW - 3)
FAILED = Unit("loaded", "failed", "failed", "exit-code", 8, 1, 0, NOW - 90, NOW - 10)
DONE = Answer(200, "{}", "", 0.01)
NOTHING = Answer(0, "", "[Errno 111] Connection refused", 0.001)
SILENCE = Answer(0, "", "timed out", 10.0)
ROOM = Folder(1, 500 * GB, 300 * GB, 30_000_000, 29_000_000, False)


def models(*names: str) -> Answer:
    """What /api/tags says."""
    return Answer(200, json.dumps({"models": [{"name": name} for name in names]}), "", 0.01)


def loaded(name: str, size: int, on_cards: int) -> Answer:
    """What /api/ps says of one model."""
    return Answer(200, json.dumps({"models": [{"name": name, "size": size, "size_vram": on_cards}]}), "", 0.01)


WELL = Case(
    host="gpu-01",
    site=SITE,
    seen=Symptoms(
        now=NOW,
        units={
            VLLM: UP,
            VLLM_MODEL: DOWN,
            ADAPTER: UP,
            ADAPTER_SOCKET: UP,
            OLLAMA_VISION: UP,
            OLLAMA_TEXT: DOWN,
        },
        journal={},
        kernel=(),
        answers={
            VLLM_HEALTH: DONE,
            VLLM_TOKEN: DONE,
            ADAPTER_READY: DONE,
            f"{OLLAMA_VISION}:{TAGS}": models("llava:7b", "nomic-embed-text:latest"),
            f"{OLLAMA_VISION}:{LOADED}": loaded("llava:7b", 6 * GB, 6 * GB),
            f"{OLLAMA_TEXT}:{TAGS}": NOTHING,
            f"{OLLAMA_TEXT}:{LOADED}": NOTHING,
        },
        folders={"/": ROOM, "/var/lib/llm": ROOM},
        memory_total=256 * GB,
        memory_available=200 * GB,
        synchronised=True,
        compiler="/usr/bin/gcc",
        containers=(),
        addresses=frozenset({"10.1.2.3", "172.17.0.1", "gpu-01"}),
    ),
    machine=parse_evidence(ONE_H100.with_driver().evidence()),
    listeners=(
        Listener("127.0.0.1", 8000, 4711, "vllm", VLLM),
        Listener("0.0.0.0", 11434, 4712, "ollama-adapter", ADAPTER),
        Listener("0.0.0.0", 11435, 4713, "ollama", OLLAMA_VISION),
    ),
    status={"serving": 2, "recorded": 2, "next_boot": [2]},
)


def with_seen(case: Case = WELL, **changed: Any) -> Case:
    """The same case with other symptoms."""
    return replace(case, seen=replace(case.seen, **changed))


def with_unit(name: str, unit: Unit, *said: str, case: Case = WELL, ago: float = 20.0) -> Case:
    """The same case with this unit, which has said these lines so many seconds ago."""
    lines = tuple(Line(NOW - ago, 6, text) for text in said)
    units, journal = {**case.seen.units, name: unit}, {**case.seen.journal, name: lines}
    return with_seen(case, units=units, journal=journal)


def with_answers(answers: Mapping[str, Answer], case: Case = WELL) -> Case:
    """The same case with other answers."""
    return with_seen(case, answers={**case.seen.answers, **answers})


def vllm_says(*said: str, unit: Unit = RETRYING) -> Case:
    """A vLLM that does not come up and says this; the adapter answers 503, as it then does."""
    told = Answer(503, '{"status":"not ready","error":"vLLM does not answer"}', "", 0.01)
    case = with_answers({VLLM_HEALTH: NOTHING, VLLM_TOKEN: NOTHING, ADAPTER_READY: told}, with_unit(VLLM, unit, *said))
    return replace(case, status={"serving": None, "recorded": 2, "next_boot": [2]})


def found(case: Case) -> dict[str, Diagnosis]:
    """What is diagnosed, by name."""
    return {one.name: one for one in diagnoses(case)}
