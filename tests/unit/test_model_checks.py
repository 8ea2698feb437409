"""What preflight says of a model and the cards where nothing is wrong, or nobody can know. Refusals: test_findings_read_aloud."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from roles.facts.evidence import parse_evidence
from roles.facts.survey import ModelSeen
from roles.preflight.card_checks import card_findings
from roles.preflight.findings import Finding
from roles.preflight.mirror_checks import model_on_hub
from roles.preflight.model_checks import model_findings
from roles.quantization import disagreement
from roles.site import site_from
from tests.fake_models import LLAMA_2_7B, LLAMA_2_13B, LLAMA_2_70B_AWQ, LLAMA_3_8B, Model, awq
from tests.plan.fake_hosts import answers_with
from tests.plan.fake_machines import A100, H100, L4, ONE_H100, T4, FakeCard, Machine
from tests.unit.test_preflight import answer

LONG_AWQ = awq(LLAMA_2_7B[0] | {"max_position_embeddings": 65536})
ONE_L4 = Machine((L4,)).with_driver()


def seen(model: Model) -> ModelSeen:
    config, size = model
    return ModelSeen(json.dumps(config), {"model.safetensors": size})


def findings(
    model: ModelSeen | None, machine: Machine, settings: dict[str, Any] | None = None, **vllm: Any
) -> list[Finding]:
    site = site_from([{"vllm": vllm, **(settings or {})}], {})
    return model_findings(site, parse_evidence(machine.evidence()), model)


def told(*arguments: Any, **vllm: Any) -> str:
    """The facts of findings that are notes, all of them."""
    found = findings(*arguments, **vllm)
    assert {one.severity for one in found} == {"note"}, found
    return "\n".join(one.fact for one in found)


def test_a_model_that_fits_says_how_many_requests_it_has_room_for() -> None:
    assert told(seen(LLAMA_2_7B), ONE_L4) == (
        "card 0 (GPU-1414): weights 12.6 + about 1.8 for computing + KV cache 5.4 of 19.8 GiB (0.9 of 22.0): "
        "fits, room for 11048 tokens = 2.7 requests of max_model_len 4096"
    )


def test_cards_that_are_alike_are_told_once_and_unlike_ones_each() -> None:
    alike = told(seen(LLAMA_2_13B), Machine((L4, L4)).with_driver(), tensor_parallel_size=2)
    assert alike.startswith("each of 2 NVIDIA L4: weights 12.1 + ")
    unlike = told(seen(LLAMA_2_7B), Machine((H100, A100)).with_driver(), tensor_parallel_size=2)
    assert [line.partition(":")[0] for line in unlike.splitlines()] == ["card 0 (GPU-8f1c)", "card 1 (GPU-a100)"]


def test_of_the_vllm_for_pictures_it_is_said_that_only_shares_are_added_up() -> None:
    both = Machine((H100, T4)).with_driver()
    split = {"vision": "vllm", "vllm_vision": {"gpus": ["GPU-7474"]}}
    assert "not worked out for vllm_vision: only the shares are added up" in told(
        seen(LLAMA_2_7B), both, split, gpus=["GPU-8f1c"]
    )
    assert "vllm_vision" not in told(seen(LLAMA_2_7B), both, gpus=["GPU-8f1c"])


def test_a_quantisation_is_judged_by_the_cards_of_its_own_server() -> None:
    both = Machine((H100, T4)).with_driver()
    split = {"vision": "vllm", "vllm_vision": {"gpus": ["GPU-7474"], "kv_cache_dtype": "fp8"}}
    (refused,) = [
        one
        for one in findings(seen(LLAMA_2_7B), both, split, gpus=["GPU-8f1c"], kv_cache_dtype="fp8")
        if one.severity != "note"
    ]
    assert (refused.about, refused.remedy) == (
        "vllm_vision.kv_cache_dtype",
        'set vllm_vision = {"kv_cache_dtype": "auto"}',
    )


def test_a_card_that_vllm_does_not_get_is_not_counted() -> None:
    both = Machine((T4, H100)).with_driver()
    assert "GPU-7474" not in told(seen(LLAMA_2_7B), both, gpus=["GPU-8f1c"])


def test_before_a_driver_is_there_the_need_is_told_and_no_verdict() -> None:
    said = told(seen(LLAMA_2_13B), ONE_H100)
    assert "weights 24.2 + KV cache 3.1 GiB for one request of 4096 tokens = 27.4 GiB of each card" in said
    assert "fit" not in said


@pytest.mark.parametrize(
    ("model", "vllm", "why"),
    [
        (None, {}, "neither the host nor the hub"),
        (ModelSeen("<html>", {}), {}, "neither the host nor the hub"),
        (ModelSeen("[]", {}), {}, "neither the host nor the hub"),
        (
            ModelSeen(json.dumps(LLAMA_2_7B[0]), {"README.md": 3}),
            {},
            "how large the weights are; vllm.weights_size can",
        ),
        (ModelSeen("{}", {}), {"weights_size": "13G"}, "its config.json has no hidden_size"),
    ],
)
def test_what_nobody_tells_is_not_guessed(model: ModelSeen | None, vllm: dict[str, Any], why: str) -> None:
    assert told(model, ONE_L4, **vllm).startswith("not worked out for meta-llama/Llama-2-7b-chat-hf: ")
    assert why in told(model, ONE_L4, **vllm)


def test_the_setting_says_how_large_the_weights_are() -> None:
    assert "weights 13.0 + " in told(ModelSeen(json.dumps(LLAMA_2_7B[0]), {}), ONE_L4, weights_size="13G")


@pytest.mark.parametrize("settings", [{"phase": 1}, {"gpu": "none"}])
def test_where_vllm_gets_no_card_nothing_is_said_of_memory(settings: dict[str, Any]) -> None:
    assert findings(seen(LLAMA_2_13B), ONE_L4, settings) == []


def test_what_others_hold_is_left_to_them_in_what_is_advised() -> None:
    training = "GPU-1414, 812, python3, 4000\n"
    busy = Machine((L4,), driver="580.178.04", apps=training)
    (short,) = findings(seen(LLAMA_2_7B), busy, gpu_memory_utilization=0.7)
    assert short.severity == "warning"
    assert "vllm.gpu_memory_utilization to 0.75" in short.remedy  # of 0.82 that is left
    busier = Machine((L4,), driver="580.178.04", apps=training.replace("4000", "8000"))
    (short,) = findings(seen(LLAMA_2_7B), busier, gpu_memory_utilization=0.6)
    assert "gpu_memory_utilization" not in short.remedy


@pytest.mark.parametrize(
    ("model", "length", "advised"),
    # Of the L4's 23034 MiB the other vLLM gets 0.4 and the driver 512 MiB: 0.57 is what preflight's own budget lets through.
    [(LLAMA_2_7B, 4096, None), (LONG_AWQ, 14400, "0.57"), (LONG_AWQ, 14600, None)],
)
def test_no_share_is_advised_that_the_second_vllm_leaves_no_room_for(
    model: Model, length: int, advised: str | None
) -> None:
    both = {"vision": "vllm", "vllm_vision": {"gpu_memory_utilization": 0.4}}
    vllm = {"gpu_memory_utilization": 0.5, "max_model_len": length}
    (short,) = [one for one in findings(seen(model), ONE_L4, both, **vllm) if one.severity != "note"]
    found = re.findall(r"vllm\.gpu_memory_utilization to ([\d.]+)", short.remedy)
    assert found == ([advised] if advised else [])
    for fraction, refused in (("0.57", False), ("0.58", True)):
        wanted = site_from([{**both, "vllm": {"gpu_memory_utilization": float(fraction)}}], {})
        told_of = card_findings(wanted, parse_evidence(ONE_L4.evidence()), "ubuntu", "24.04")
        assert any("too much" in one.fact for one in told_of) is refused


@pytest.mark.parametrize(
    ("card", "advice"),
    [(L4, 'vllm.quantization to "fp8_per_tensor" (weights 12.4 GiB)'), (T4, "a variant of it in 4 bits (AWQ or GPTQ)")],
)
def test_a_smaller_form_of_the_model_is_advised_where_it_would_fit(card: FakeCard, advice: str) -> None:
    (refused,) = findings(seen(LLAMA_2_13B), Machine((card,)).with_driver())
    assert advice in refused.remedy


def test_what_is_advised_is_enough() -> None:
    for vllm in ({"quantization": "fp8_per_tensor"}, {"gpu_memory_utilization": 0.97, "max_model_len": 16}):
        assert "fits" in told(seen(LLAMA_2_13B if "quantization" in vllm else LLAMA_2_7B), ONE_L4, **vllm)
    assert "fits" in told(seen(LLAMA_2_13B), Machine((L4, L4)).with_driver(), tensor_parallel_size=2)
    (lower,) = findings(
        seen(LLAMA_2_13B), Machine((L4, L4)).with_driver(), tensor_parallel_size=2, gpu_memory_utilization=0.7
    )
    assert "vllm.max_model_len to 880 or less" in lower.remedy
    assert "fits" in told(
        seen(LLAMA_2_13B),
        Machine((L4, L4)).with_driver(),
        tensor_parallel_size=2,
        gpu_memory_utilization=0.7,
        max_model_len=880,
    )


def test_eight_bit_floats_on_an_older_card_save_memory_and_no_time() -> None:
    said = told(seen(LLAMA_3_8B), Machine((A100,)).with_driver(), max_model_len=8192, quantization="fp8_per_tensor")
    assert "NVIDIA A100 80GB PCIe (8.0) multiplies no 8-bit floats" in said
    assert "multiplies" not in told(seen(LLAMA_3_8B), ONE_L4, max_model_len=8192, quantization="fp8_per_tensor")


def test_a_quantised_model_needs_no_setting_and_may_have_the_right_one() -> None:
    two = Machine((A100, A100)).with_driver()
    plain = told(seen(LLAMA_2_70B_AWQ), two, tensor_parallel_size=2)
    assert plain == told(seen(LLAMA_2_70B_AWQ), two, tensor_parallel_size=2, quantization="awq")


@pytest.mark.parametrize(
    ("setting", "stored", "agrees"),
    [
        (None, None, True), (None, "awq", True), ("awq", "awq", True), ("fp8_per_tensor", None, True),
        ("modelopt_fp4", "modelopt", True),
        ("awq", None, False), ("fp8", None, False), ("gptq", "awq", False), ("fp8_per_tensor", "fp8", False),
    ],
)  # fmt: skip
def test_which_settings_vllm_takes_for_which_models(setting: str | None, stored: str | None, agrees: bool) -> None:
    assert (disagreement(setting, stored) is None) == agrees


def test_the_hub_tells_the_model_and_silence_is_no_model() -> None:
    said = {raw.pop("name"): answer(raw["text"], raw["status"]) for raw in answers_with(LLAMA_2_13B)}
    model = model_on_hub(said)
    assert model == seen(LLAMA_2_13B)
    assert model_on_hub({**said, "hub-file": answer("", 403)}) is None
    assert model_on_hub({}) is None
