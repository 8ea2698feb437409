"""The cards' memory: what vLLM and torch say, and the settings that follow. The texts are quoted from vLLM 0.32.0
(v1/worker/utils.py, v1/core/kv_cache_utils.py, v1/worker/gpu_model_runner.py) and from torch's allocator."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from roles.doctor import shape_of_text_model
from roles.doctor.vram import WorkedOut, needed_fraction, safe_context, safe_fraction, worked_out
from roles.facts.evidence import App
from roles.facts.survey import ModelSeen
from tests.fake_models import LLAMA_2_7B
from tests.unit.doctor.cases import WELL, found, vllm_says

UUID = WELL.machine.cards[0].uuid
TAKEN = (
    "ValueError: Free memory on device cuda:0 (31.25/79.19 GiB) on startup is less than desired GPU memory utilization "
    "(0.9, 71.27 GiB). Decrease GPU memory utilization or reduce GPU memory used by other processes."
)
TOO_LONG = (
    "ValueError: To serve at least one request with the model's max seq len (32768), (16.00 GiB KV cache is needed, which is "
    "larger than the available KV cache memory (5.21 GiB). Based on the available memory, the estimated maximum model length "
    "is 10656. Try increasing `gpu_memory_utilization` (which also controls CPU memory on the CPU backend) or decreasing "
    "`max_model_len` when initializing the engine."
)
NOTHING_LEFT = (
    "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing"
)
ALLOCATION = (
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.50 GiB. GPU 0 has a total capacity of 79.19 GiB of which "
    "1.19 GiB is free. Process 812 has 44.34 GiB memory in use."
)


@pytest.mark.parametrize(
    ("free", "total", "fraction"), [(31.25, 79.19, 0.39), (79.0, 79.19, 0.97), (5.0, 79.19, 0.0), (15.5, 15.7, 0.96)]
)
def test_the_safe_fraction_leaves_what_others_have_and_never_promises_more_than_is_free(
    free: float, total: float, fraction: float
) -> None:
    assert safe_fraction(free, total) == fraction
    assert fraction * total <= free


@pytest.mark.parametrize(
    ("now", "lacking", "total", "fraction"),
    [(0.5, 10.79, 79.19, 0.65), (0.9, 10.79, 79.19, None), (0.9, 0.0, 10.0, 0.93)],
)
def test_the_fraction_that_is_needed(now: float, lacking: float, total: float, fraction: float | None) -> None:
    assert needed_fraction(now, lacking, total) == fraction
    if fraction:
        assert (fraction - now) * total >= lacking


@pytest.mark.parametrize(("longest", "context"), [(10_656, 10_496), (512, 512), (300, 288), (7, 16)])
def test_a_context_just_below_what_fits(longest: int, context: int) -> None:
    assert safe_context(longest) == context


def test_a_card_that_others_have_part_of() -> None:
    vision = App(UUID, 99, "ollama", 47_000, "ollama-vision.service")
    case = vllm_says(TAKEN)
    one = found(replace(case, machine=replace(case.machine, apps=(vision,))))["cards-memory-taken"]
    assert one.cause == "vLLM wants 71.27 GiB of a card that has 31.25 of 79.19 GiB free"
    assert "on the cards: ollama (pid 99, ollama-vision.service) holds 47000 MiB" in one.evidence
    assert "vllm.gpu_memory_utilization = 0.39 (now 0.9)" in one.remedy


def test_a_card_that_others_have_nearly_whole_gets_no_fraction_that_could_not_serve() -> None:
    one = found(vllm_says(TAKEN.replace("31.25", "2.50")))["cards-memory-taken"]
    assert "gpu_memory_utilization" not in one.remedy
    assert "systemctl restart vllm" in one.remedy


def test_a_context_whose_keys_and_values_do_not_fit() -> None:
    one = found(vllm_says(TOO_LONG))["context-too-long"]
    assert "needs 16 GiB" in one.cause
    assert "vllm.max_model_len = 10496 (now 32768)" in one.remedy
    assert "gpu_memory_utilization = " not in one.remedy, "0.9 of that card and 11 GiB more is more than there is"
    low = vllm_says(TOO_LONG)
    roomy = low.site.model_copy(update={"vllm": low.site.vllm.model_copy(update={"gpu_memory_utilization": 0.5})})
    assert "vllm.gpu_memory_utilization = 0.64 (now 0.5)" in found(replace(low, site=roomy))["context-too-long"].remedy


def test_weights_that_leave_nothing() -> None:
    one = found(vllm_says(NOTHING_LEFT))["model-too-large"]
    assert any(line.startswith("card 0: ") for line in one.evidence)
    assert "quantised" in one.remedy


def test_an_allocation_that_failed_gives_the_fraction_that_had_left_room_for_it() -> None:
    one = found(vllm_says(ALLOCATION))["cards-out-of-memory"]
    assert one.cause == "card 0 ran out of memory: 3.50 GiB asked for, 1.19 of 79.19 free"
    assert "vllm.gpu_memory_utilization = 0.86 (now 0.9)" in one.remedy
    assert "vllm.max_model_len = 2048 (now 4096)" in one.remedy
    small = found(vllm_says(ALLOCATION.replace("3.50 GiB", "90.00 GiB")))["cards-out-of-memory"]
    assert "the model does not fit" in small.remedy


def test_out_of_memory_without_numbers() -> None:
    one = found(vllm_says("RuntimeError: CUDA out of memory occurred when warming up sampler with 256 dummy requests."))
    assert one["cards-out-of-memory"].certainty == "likely"
    assert "= 0.8 (now 0.9)" in one["cards-out-of-memory"].remedy


def test_what_starts_is_worked_out_from_the_models_files_and_what_others_hold_of_the_card() -> None:
    config, weights = LLAMA_2_7B
    shape = shape_of_text_model(ModelSeen(json.dumps(config), {"model.safetensors": weights}))
    assert shape is not None
    case = vllm_says(TAKEN)
    others = App(UUID, 99, "python3", 50_000, "training.service")
    crowded = replace(case, shape=shape, machine=replace(case.machine, apps=(others,)))
    line = next(one for one in found(crowded)["cards-memory-taken"].evidence if one.startswith("worked out"))
    assert line.startswith(
        "worked out from its files, vllm.gpu_memory_utilization = 0.38 with vllm.max_model_len = 4096 starts on"
    )
    full = replace(crowded, machine=replace(case.machine, apps=(replace(others, memory=75_000),)))
    assert any("no setting has this model start" in one for one in found(full)["cards-memory-taken"].evidence)
    assert worked_out(replace(case, shape=shape)) == WorkedOut(True, ""), "alone on the card it starts as it is set"
    slices = replace(case.machine, cards=(replace(case.machine.cards[0], mig=True),))
    assert worked_out(replace(case, shape=shape, machine=slices)) is None
    failed = replace(full, seen=vllm_says(ALLOCATION).seen)
    remedy = found(failed)["cards-out-of-memory"].remedy
    assert remedy.startswith("the model does not fit")
    assert "max_model_len" not in remedy
    assert shape_of_text_model(None) is shape_of_text_model(ModelSeen("{}", {})) is None
