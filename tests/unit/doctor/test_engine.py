"""Diagnoses of vLLM. Sources of its lines: tests/captures/journal-vllm-engine-died.jsonl is recorded, the others are quoted from
vLLM 0.32.0, Triton, FlashInfer and torch (the files are named in roles/doctor/engine.py)."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from roles.doctor.symptoms import Answer, Line
from roles.facts.survey import Listener
from roles.layout import VLLM
from tests.unit.doctor.cases import (
    DONE,
    DOWN,
    FAILED,
    NOTHING,
    NOW,
    RETRYING,
    SILENCE,
    STARTING,
    UP,
    VLLM_HEALTH,
    VLLM_TOKEN,
    WELL,
    found,
    vllm_says,
    with_answers,
    with_seen,
    with_unit,
)

CAPTURE = Path(__file__).parents[2] / "captures" / "journal-vllm-engine-died.jsonl"


def test_an_engine_that_died_in_a_recorded_journal() -> None:
    entries = [json.loads(line) for line in CAPTURE.read_text(encoding="utf-8").splitlines()]
    said = tuple(Line(NOW - 5, int(entry["PRIORITY"]), entry["MESSAGE"]) for entry in entries)
    dead = with_answers({VLLM_HEALTH: Answer(503, "", "", 0.01)}, with_unit(VLLM, UP))
    one = found(with_seen(dead, journal={VLLM: said}))["engine-dead"]
    assert one.certainty == "certain"
    assert "/health on 8000: 503" in one.evidence
    assert any("EngineDead" in line or "engine core exited unexpectedly" in line for line in one.evidence)
    assert "systemctl restart vllm" in one.remedy
    again = found(with_seen(vllm_says("x"), journal={VLLM: said}))
    assert again["engine-died"].certainty == "likely", "systemd starts it again"


@pytest.mark.parametrize(
    "answers", [{VLLM_HEALTH: SILENCE, VLLM_TOKEN: SILENCE}, {VLLM_HEALTH: DONE, VLLM_TOKEN: SILENCE}]
)
def test_a_vllm_that_takes_requests_and_answers_none(answers: dict[str, Answer]) -> None:
    assert "engine-hangs" in found(with_answers(answers))


LOAD = (
    "Engine 000: Avg prompt throughput: 9.1 tokens/s, Avg generation throughput: {} tokens/s, "
    "Running: 256 reqs, Waiting: 800 reqs"
)


@pytest.mark.parametrize(
    ("rate", "ago", "name"), [("4000.0", 9, "engine-busy"), ("0.0", 9, "engine-hangs"), ("4000.0", 300, "engine-hangs")]
)
def test_a_vllm_with_a_long_queue_is_not_taken_for_one_that_hangs(rate: str, ago: float, name: str) -> None:
    busy = with_unit(VLLM, UP, LOAD.format(rate), ago=ago)
    names = found(with_answers({VLLM_HEALTH: DONE, VLLM_TOKEN: SILENCE}, busy))
    assert set(names) == {name}
    if name == "engine-busy":
        assert "no restart" in names[name].remedy


def test_a_unit_that_is_up_with_nobody_on_its_port() -> None:
    one = found(with_answers({VLLM_HEALTH: NOTHING, VLLM_TOKEN: NOTHING}))["engine-mute"]
    assert "the unit has been up for 58 min" in one.evidence


def test_a_vllm_that_is_healthy_by_its_own_word_and_fails_a_request() -> None:
    one = found(with_answers({VLLM_TOKEN: Answer(500, '{"error":\n"boom"}', "", 0.1)}))["engine-fails"]
    assert one.evidence == ('one token asked for, 500 answered {"error": "boom"}',)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "  Value error, User-specified max_model_len (8192) is greater than the derived max_model_len "
            "(max_position_embeddings=4096.0 or model_max_length=None in model's config.json). [type=value_error]",
            "vllm.max_model_len to at most 4096",
        ),
        ("vllm: error: unrecognized arguments: --fast", "vllm.extra_args"),
        ("ValueError: Bfloat16 is only supported on GPUs with compute capability of at least 8.0.", "vllm.dtype"),
        (
            "Total number of attention heads (32) must be divisible by tensor parallel size (3).",
            "vllm.tensor_parallel_size",
        ),
    ],
)
def test_settings_that_vllm_refuses(said: str, remedy: str) -> None:
    assert remedy in found(vllm_says(said))["vllm-settings"].remedy


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("RuntimeError: Failed to find C compiler. Please specify via CC environment variable.", "apt-get install gcc"),
        ("/tmp/x/main.c:1:10: fatal error: Python.h: No such file or directory", "python3-dev"),
        ("RuntimeError: Could not find nvcc and default cuda_home='/usr/local/cuda' doesn't exist", "FLASH_ATTN"),
        ("FileNotFoundError: [Errno 2] No such file or directory: 'ninja'", "deploy.py"),
    ],
)
def test_a_compiler_that_is_missing(said: str, remedy: str) -> None:
    one = found(with_seen(vllm_says(said), compiler=""))["no-compiler"]
    assert remedy in one.remedy
    assert "C compiler on the host: none" in one.evidence


def test_cards_that_vllm_does_not_find() -> None:
    assert "vllm-without-card" in found(vllm_says("RuntimeError: No CUDA GPUs are available"))


def test_a_port_that_somebody_else_has() -> None:
    squatter = Listener("0.0.0.0", 8000, 99, "python3", "squatter.service")
    case = vllm_says("OSError: [Errno 98] Address already in use")
    one = found(replace(case, listeners=(*case.listeners[1:], squatter)))["vllm-port-taken"]
    assert one.evidence[0] == "port 8000: python3 (pid 99, squatter.service) on 0.0.0.0"
    assert "systemctl disable --now squatter.service" in one.remedy
    gone = found(replace(case, listeners=case.listeners[1:]))["vllm-port-taken"]
    assert gone.certainty == "likely"


def test_a_container_that_publishes_the_port_is_stopped_and_not_docker() -> None:
    proxy = Listener("0.0.0.0", 8000, 99, "docker-proxy", "docker.service")
    case = vllm_says("OSError: [Errno 98] Address already in use")
    remedy = found(replace(case, listeners=(*case.listeners[1:], proxy)))["vllm-port-taken"].remedy
    assert "docker stop" in remedy
    assert "disable" not in remedy


def test_a_start_that_takes_its_time_is_told_with_its_last_line() -> None:
    one = found(
        vllm_says("(EngineCore pid=7) INFO 11-29 06:45:56 [weight_utils.py:1] Loading safetensors", unit=STARTING)
    )
    assert one["vllm-starting"].evidence[0] == "for 40 s; it is given 15 min (vllm.ready_timeout_s)"
    assert one["vllm-starting"].evidence[1] == "vllm: [weight_utils.py:1] Loading safetensors"


def test_an_error_of_the_start_before_is_not_held_against_a_fresh_one() -> None:
    old = with_unit(VLLM, STARTING, "vllm: error: unrecognized arguments: --fast", case=vllm_says("x"), ago=300.0)
    assert "vllm-settings" not in found(old)
    tried = with_unit(
        VLLM, replace(STARTING, restarts=2), "vllm: error: unrecognized arguments: --x", case=old, ago=300.0
    )
    assert "vllm-settings" in found(tried)


@pytest.mark.parametrize(
    ("unit", "words"), [(FAILED, "gave up after 8 restarts"), (RETRYING, "tries again after 3 restarts")]
)
def test_what_nobody_knows_is_told_with_its_last_error(unit: object, words: str) -> None:
    one = found(vllm_says("Traceback:", "builtins.OddError: never seen before", unit=unit))["vllm-fails"]  # type: ignore[arg-type]
    assert one.certainty == "possible"
    assert words in one.evidence[0]
    assert one.evidence[1] == "vllm: builtins.OddError: never seen before"


def test_a_vllm_that_somebody_has_stopped() -> None:
    assert "vllm-stopped" in found(vllm_says(unit=DOWN))


def test_in_phase_1_nobody_misses_vllm() -> None:
    phase_1 = replace(with_unit(VLLM, DOWN), status={"serving": 1, "recorded": 1, "next_boot": [1]})
    assert [name for name in found(phase_1) if name.startswith(("vllm", "engine"))] == []
    assert WELL.wants_phase_2


def test_secrets_are_not_quoted() -> None:
    said = "vllm: error: unrecognized arguments: --api-key=sk-verysecret1 HF_TOKEN=hf_alsosecret1"
    assert "secret1" not in str(found(vllm_says(said)))
