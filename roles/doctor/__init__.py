"""Doctor: likely causes of what is wrong with a host, in order, each with its evidence and the command that mends it.

doctor.py looks, this folder judges; nothing on a host is changed.

symptoms.py    what the host says about itself, its services, their last lines and answers (host/symptoms.py gathers it)
case.py        one host: its settings beside all that was seen of it
machine.py     driver, cards, disk, clock, memory        model.py     the model's download and files
engine.py      vLLM                                      vram.py      the cards' memory, with safe values computed
servers.py     adapter, Ollama, phase                    services.py  the containers that use them
diagnosis.py   what a diagnosis is, its order, how it is told, the exit status
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace

from roles.consumer_variables import TEXT_URLS, VISION_URLS
from roles.doctor.case import Case
from roles.doctor.diagnosis import Diagnosis
from roles.doctor.engine import HEALTH, TOKEN, engine_diagnoses
from roles.doctor.machine import machine_diagnoses
from roles.doctor.model import model_diagnoses
from roles.doctor.servers import LOADED, READY, TAGS, VERSION, adapters, ollama_servers, server_diagnoses
from roles.doctor.services import service_diagnoses
from roles.doctor.symptoms import Question
from roles.facts.survey import ModelSeen
from roles.layout import ADAPTER, ADAPTER_TOKEN, OPT, STATE, VLLM, VLLM_VISION
from roles.site import Site
from roles.telling import LOST, UNREADABLE, Refusal, wrong_inventory
from roles.vllm_model import ModelShape, UnknownModel, shape_of, weights_in

FOLDERS = ("/", "/tmp", "/var/lib/docker", STATE, OPT)
VARIABLES = (*TEXT_URLS, *VISION_URLS)


def folders(site: Site) -> tuple[str, ...]:
    """Whose file systems are looked at."""
    return tuple(dict.fromkeys((*FOLDERS, site.vllm.hub_cache)))


def questions(site: Site) -> tuple[Question, ...]:
    """What the host is asked about its own servers: health, models, and one token of vLLM."""
    asked = []
    engines = {VLLM: site.vllm, **({VLLM_VISION: site.vllm_vision} if site.vision_on_vllm else {})}
    for unit, server in engines.items():
        url = f"http://127.0.0.1:{server.port}"
        body = json.dumps({"model": server.served_name, "prompt": "1", "max_tokens": 1})
        asked.append(Question(f"{unit}:{HEALTH}", f"{url}/health"))
        asked.append(Question(f"{unit}:{TOKEN}", f"{url}/v1/completions", body, seconds=20.0))
    for front in adapters(site):
        asked.append(Question(f"{front.unit}:{READY}", f"{front.url}{READY}"))
        if front.unit == ADAPTER and site.asks_for_token:  # 11435 asks for none
            url = f"{front.url}{VERSION}"
            asked.append(Question(f"{front.unit}:{VERSION}", url, token_file=ADAPTER_TOKEN, listener="ollama-adapter"))
    servers = {one.unit: one for number in (1, 2) for one in ollama_servers(site, number)}
    asked += [Question(f"{one.unit}:{path}", f"{one.url}{path}") for one in servers.values() for path in (TAGS, LOADED)]
    return tuple(asked)


def diagnoses(case: Case) -> Iterator[Diagnosis]:
    """Everything that may be wrong, from below to above."""
    made = [
        *machine_diagnoses(case),
        *model_diagnoses(case),
        *engine_diagnoses(case),
        *(of_vision(case) if case.site.vision_on_vllm else ()),
        *server_diagnoses(case),
        *service_diagnoses(case),
    ]
    yield from made
    told = " ".join(line for one in made if one.name in ("port-taken", "vllm-port-taken") for line in one.evidence)
    for refusal in case.refusals:
        if not (refusal.about.startswith("port ") and f"{refusal.about}:" in told):
            yield Diagnosis(
                "deploy-refused",
                "possible",
                f"a deploy would refuse this host: {refusal.about}",
                (refusal.fact,),
                refusal.remedy,
            )


def shape_of_text_model(seen: ModelSeen | None) -> ModelShape | None:
    """What decides about the text model's memory, from its files on the host; None where they do not tell."""
    try:
        return shape_of(json.loads(seen.config), weights_in(seen.files)) if seen else None
    except (ValueError, UnknownModel):
        return None


def of_vision(case: Case) -> Iterator[Diagnosis]:
    """The same of the vLLM that answers about pictures."""
    other = replace(case, about="vllm_vision", shape=None)
    for one in (*model_diagnoses(other), *engine_diagnoses(other)):
        yield replace(one, cause=f"{one.cause} (for pictures)")


def notes(case: Case) -> Iterator[str]:
    """What a person should know beside that."""
    if case.status.get("serving") == 1 and case.site.phase == 1 and case.site.prepares_phase_2:
        yield "Phase 1 serves, as the inventory says; vLLM was not looked at"
    if case.seen.synchronised is None:
        yield "systemd does not say whether the clock is synchronised"


def reason_unknown(lost: bool, settings_problems: Sequence[Refusal], readable: bool, uid: int = 0) -> str:
    """Why nothing can be said about a host; "" when it could be looked at.

    :param lost: it went away meanwhile. :param settings_problems: of the inventory. :param readable: it runs python3.
    :param uid: as whom it was looked at.
    """
    if lost:
        return LOST
    if settings_problems:
        return wrong_inventory(settings_problems)
    if not readable:
        return UNREADABLE
    if uid != 0:
        return f"connected as uid {uid}, who sees neither services nor ports; set _sudo = True in inventory/group_data/all.py"
    return ""
