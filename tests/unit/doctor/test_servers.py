"""Diagnoses of the adapter, the Ollama servers and the phase."""

from __future__ import annotations

from dataclasses import replace

import pytest

from roles.doctor import diagnoses, questions
from roles.doctor.case import Case
from roles.doctor.diagnosis import in_order
from roles.doctor.servers import LOADED, TAGS
from roles.doctor.symptoms import Answer, Line, Unit
from roles.facts.evidence import App
from roles.facts.survey import Listener
from roles.layout import (
    ADAPTER,
    ADAPTER_SOCKET,
    ADAPTER_VISION,
    ADAPTER_VISION_SOCKET,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    VLLM,
    VLLM_VISION,
)
from roles.preflight.findings import error
from roles.site import site_from
from tests.unit.doctor.cases import (
    ADAPTER_READY,
    DONE,
    DOWN,
    FAILED,
    GB,
    NOTHING,
    NOW,
    SITE,
    UP,
    WELL,
    found,
    loaded,
    models,
    vllm_says,
    with_answers,
    with_seen,
    with_unit,
)

REASON = '{"status":"not ready","error":"vLLM at 127.0.0.1:8000 does not answer: connection refused"}'
PHASE_1 = replace(
    with_answers(
        {f"{OLLAMA_TEXT}:{TAGS}": models(*SITE.ollama.text.models)},
        with_unit(VLLM, DOWN, case=with_unit(OLLAMA_TEXT, UP)),
    ),
    status={"serving": 1, "recorded": 1, "next_boot": [1]},
    site=SITE.model_copy(update={"phase": 1}),
)


def test_503_of_the_adapter_follows_from_what_ails_vllm() -> None:
    case = with_answers(
        {ADAPTER_READY: Answer(503, REASON, "", 0.01)}, vllm_says("RuntimeError: No CUDA GPUs are available")
    )
    names = found(case)
    assert names["adapter-503"].evidence == (
        "/ready on 11434: 503 vLLM at 127.0.0.1:8000 does not answer: connection refused",
        f"{VLLM} is activating",
    )
    assert "no restart" in names["adapter-503"].remedy
    order = [one.name for one in in_order(names.values())]
    assert order.index("vllm-without-card") < order.index("adapter-503")


def test_an_adapter_that_does_not_run() -> None:
    case = with_unit(ADAPTER, FAILED, "ollama-adapter: models: no backend", case=with_unit(ADAPTER_SOCKET, FAILED))
    one = found(case)["adapter-down"]
    assert one.evidence[0] == f"{ADAPTER} is failed, {ADAPTER_SOCKET} failed"
    assert "models: no backend" in one.evidence[1]


def test_an_adapter_that_says_nothing() -> None:
    assert "adapter-mute" in found(with_answers({ADAPTER_READY: NOTHING}))


def test_an_adapter_that_does_not_take_the_token_of_its_own_host() -> None:
    adapter = SITE.adapter.model_copy(update={"require_token": True})
    site = SITE.model_copy(update={"adapter": adapter})
    asked = {question.name: question for question in questions(site)}
    protected = asked[f"{ADAPTER}:/api/version"]
    assert (protected.token_file, protected.listener) == ("/etc/llm/credentials/adapter-token", "ollama-adapter")
    assert [name for name, question in asked.items() if question.token_file] == [protected.name]
    case = replace(with_answers({protected.name: Answer(401, "", "", 0.0)}), site=site)
    assert found(case)["adapter-token"].certainty == "certain"
    assert found(replace(with_answers({protected.name: DONE}), site=site)) == {}


@pytest.mark.parametrize(
    ("unit", "tags", "name"),
    [
        (FAILED, NOTHING, "ollama-down"),
        (UP, NOTHING, "ollama-mute"),
        (UP, Answer(200, "[]", "", 0.0), "ollama-mute"),
        (UP, Answer(200, '{"models": [{"name": "llava:7b"', "", 0.0), "ollama-mute"),
        (UP, Answer(200, '{"models": [null, 3]}', "", 0.0), "ollama-model-missing"),
        (UP, models("llava:7b"), "ollama-model-missing"),
    ],
)
def test_ollama_vision(unit: Unit, tags: Answer, name: str) -> None:
    names = found(with_answers({f"{OLLAMA_VISION}:{TAGS}": tags}, with_unit(OLLAMA_VISION, unit, "its last words")))
    assert set(names) == {name}
    if name == "ollama-model-missing" and "llava" in tags.text:
        assert "nomic-embed-text" in names[name].evidence[0]


def test_a_model_that_ollama_computes_on_the_processor() -> None:
    case = with_answers({f"{OLLAMA_VISION}:{LOADED}": loaded("llava:7b", 6 * GB, 0)})
    one = found(with_seen(case, journal={}))["ollama-on-cpu"]
    assert one.evidence[0] == "llava:7b: 0% of 5.6 GiB on the cards"
    assert one.cause == "ollama-vision computes on the processor"
    assert "nvidia-smi -L" in one.remedy
    half = found(with_answers({f"{OLLAMA_VISION}:{LOADED}": loaded("llava:7b", 6 * GB, 4 * GB)}))["ollama-on-cpu"]
    assert half.cause == "ollama-vision computes partly on the processor"
    assert "lower vllm.gpu_memory_utilization" in half.remedy


def test_what_ollama_says_at_its_start_is_enough_before_a_model_is_loaded() -> None:
    said = 'level=INFO source=gpu.go:377 msg="no compatible GPUs were discovered"'
    case = with_answers(
        {f"{OLLAMA_VISION}:{LOADED}": Answer(200, '{"models":[]}', "", 0.0)},
        with_unit(OLLAMA_VISION, UP, said, ago=3600),
    )
    assert found(case)["ollama-on-cpu"].certainty == "likely"


def test_a_host_on_the_processor_by_its_settings_is_well() -> None:
    cpu = SITE.model_copy(update={"gpu": "none"})
    assert found(replace(with_answers({f"{OLLAMA_VISION}:{LOADED}": loaded("llava:7b", GB, 0)}), site=cpu)) == {}


def test_phase_1_as_the_inventory_says_is_well() -> None:
    assert found(PHASE_1) == {}


def test_phase_1_where_the_inventory_says_2_is_told_with_the_way_forward_and_the_way_to_stay() -> None:
    one = found(replace(PHASE_1, site=SITE))["other-phase"]
    assert "the inventory says phase = 2" in one.evidence
    assert "deploy.py" in one.remedy
    assert "phase = 1 in the inventory" in one.remedy


def test_a_host_that_went_back_because_vllm_did_not_come_up_tells_its_last_error() -> None:
    said = (
        Line(NOW - 900, 3, "ValueError: No available memory for the cache blocks."),
        Line(NOW - 800, 6, "shutting down"),
    )
    case = with_seen(replace(PHASE_1, site=SITE), journal={VLLM: said})
    names = found(case)
    assert set(names) == {"other-phase"}
    assert "vLLM's last error, 15 min ago: vllm: ValueError: No available memory" in names["other-phase"].evidence[2]


def test_no_whole_phase_follows_from_what_is_missing_in_it() -> None:
    case = replace(with_unit(OLLAMA_VISION, FAILED, "x"), status={"serving": None, "recorded": 2, "next_boot": [2]})
    names = found(case)
    assert "no-phase" in names
    assert "ollama-down" in names


def test_a_container_on_a_port_of_ours() -> None:
    proxy = Listener("0.0.0.0", 11434, 5, "docker-proxy", "docker.service")
    one = found(replace(WELL, listeners=(WELL.listeners[0], proxy, WELL.listeners[2])))["port-taken"]
    assert one.evidence == ("port 11434: docker-proxy (pid 5, docker.service) on 0.0.0.0",)
    assert "docker ps --filter publish=11434" in one.remedy


def test_a_socket_whose_owner_nobody_sees_is_not_taken_for_somebody_elses() -> None:
    blind = tuple(replace(one, pid=0, command="", unit="") for one in WELL.listeners)
    assert found(replace(WELL, listeners=blind)) == {}


def test_a_port_that_a_deploy_would_refuse_is_told_once() -> None:
    squatter = Listener("0.0.0.0", 11434, 9, "python3", "squatter.service")
    refusals = (error("port 11434", "held", "end it"), error("port 9090", "held", "end it"))
    names = [one.name for one in diagnoses(replace(WELL, listeners=(squatter,), refusals=refusals))]
    assert (names.count("port-taken"), names.count("deploy-refused")) == (1, 1)


def test_a_host_that_was_never_deployed() -> None:
    assert set(found(replace(with_seen(units={}, answers={}), status={}, listeners=()))) == {"never-deployed"}


def on_vllm() -> Case:
    """A host in Phase 2 whose pictures a second vLLM answers about."""
    site = site_from([{"vision": "vllm", "vllm_vision": {"aliases": ["llava:7b"]}}], {})
    units = (VLLM_VISION, ADAPTER_VISION, ADAPTER_VISION_SOCKET, OLLAMA_EMBED)
    case = with_seen(units={**WELL.seen.units, OLLAMA_VISION: DOWN, **dict.fromkeys(units, UP)})
    answers = {
        f"{VLLM_VISION}:/health": DONE,
        f"{VLLM_VISION}:a token": DONE,
        f"{ADAPTER_VISION}:/ready": DONE,
        f"{OLLAMA_EMBED}:{TAGS}": models("nomic-embed-text"),
        f"{OLLAMA_EMBED}:{LOADED}": Answer(200, "{}", "", 0.0),
    }
    vision = Listener("0.0.0.0", 11435, 4715, "ollama-adapter", ADAPTER_VISION)
    return replace(with_answers(answers, case), site=site, listeners=(*WELL.listeners[:2], vision))


def test_a_host_with_vision_on_vllm_is_well_and_its_own_servers_are_looked_at() -> None:
    assert found(on_vllm()) == {}
    asked = {question.name for question in questions(on_vllm().site)}
    assert {f"{VLLM_VISION}:/health", f"{ADAPTER_VISION}:/ready", f"{OLLAMA_EMBED}:{TAGS}"} <= asked


def test_the_vllm_for_pictures_is_told_with_its_own_settings() -> None:
    says = (
        "To serve at least one request with the model's max seq len (32768), (16.00 GiB KV cache is needed, which is larger than "
        "the available KV cache memory (5.21 GiB). Based on the available memory, the estimated maximum model length is 10656."
    )
    refused = {f"{ADAPTER_VISION}:/ready": Answer(503, REASON, "", 0.0)}
    case = with_answers(refused, with_unit(VLLM_VISION, FAILED, says, case=on_vllm()))
    names = found(case)
    assert "vllm_vision.max_model_len = 10496" in names["context-too-long"].remedy
    assert names["context-too-long"].cause.endswith("(for pictures)")
    assert names["adapter-503"].evidence[1] == f"{VLLM_VISION} is failed"


def test_a_card_and_a_port_of_the_second_vllm_are_looked_at_too() -> None:
    case = with_unit(VLLM_VISION, FAILED, "x", case=on_vllm())
    orphan = App(case.machine.cards[0].uuid, 812, "VLLM::EngineCore", 30_000, "")
    squatter = Listener("0.0.0.0", case.site.ollama.vision.loopback_port, 9, "python3", "squatter.service")
    names = found(replace(case, machine=replace(case.machine, apps=(orphan,)), listeners=(*case.listeners, squatter)))
    assert names["orphans-on-cards"].remedy.endswith(f"systemctl restart {VLLM_VISION}")
    assert "ollama.vision.loopback_port" in names["port-taken"].cause
