"""The sum of a card's memory, against values worked out by hand from published shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from roles.gpus import MIB
from roles.site import Site, site_from
from roles.vllm_memory import (
    BLOCK_TOKENS,
    GIB,
    CardMemory,
    Demand,
    Estimate,
    demand_of,
    estimate,
    fewest_cards,
    largest_cache,
    largest_context,
    largest_fraction,
    layer_bytes,
    loaded_bytes,
    request_bytes,
    safe_values,
    smallest_fraction,
)
from roles.vllm_model import ModelShape, UnknownModel, quantization_of, shape_of, weights_in
from tests.fake_models import LLAMA_2_7B, LLAMA_2_13B, LLAMA_2_70B_AWQ, LLAMA_3_8B, Model, llama
from tests.plan.fake_machines import A100, A100_40, H100, L4, T4, FakeCard

# As config.json of the published models has it.
DEEPSEEK_V2_LITE = llama(
    2048, 10944, 27, 16, 16, kv_lora_rank=512, qk_rope_head_dim=64, moe_intermediate_size=1408, num_experts_per_tok=6,
    vocab_size=102400, max_position_embeddings=163840, rope_scaling={"type": "yarn", "factor": 40},
)  # fmt: skip
GEMMA_2_9B = llama(
    3584, 14336, 42, 16, 8, head_dim=256, vocab_size=256000, sliding_window=4096, max_position_embeddings=8192,
    layer_types=["sliding_attention", "full_attention"] * 21,
)  # fmt: skip


def site_of(**settings: Any) -> Site:
    return site_from([settings], {})


def shape(model: Model) -> ModelShape:
    return shape_of(*model)


def card(fake: FakeCard, taken: int = 0) -> CardMemory:
    return CardMemory(fake.name, fake.memory * MIB, taken * MIB)


@pytest.mark.parametrize(
    ("config", "kib"),
    [
        # 2 (key, value) x 32 layers x 32 heads x 128 x 2 bytes
        (LLAMA_2_7B[0], 512),
        # 2 x 5120 x 40 layers x 2 bytes: "800 KB" in section 3 of the paper on PagedAttention (Kwon and others, 2023)
        (LLAMA_2_13B[0], 800),
        # 2 x 80 layers x 8 shared heads x 128 x 2 bytes
        (LLAMA_2_70B_AWQ[0], 320),
        (LLAMA_3_8B[0], 128),
        # One latent vector: (512 + 64) x 27 layers x 2 bytes
        (DEEPSEEK_V2_LITE, 30.375),
    ],
)
def test_what_a_token_keeps_in_the_cache(config: dict[str, Any], kib: float) -> None:
    model = shape_of(config, 1)
    assert layer_bytes(model, Demand()) * model.layers == kib * 1024
    assert layer_bytes(model, Demand(kv_cache_dtype="fp8")) * model.layers == kib * 512


def test_cards_share_whole_heads_and_no_latent_vector() -> None:
    seventy, latent = shape(LLAMA_2_70B_AWQ), shape_of(DEEPSEEK_V2_LITE, 1)
    assert layer_bytes(seventy, Demand(cards=2)) == layer_bytes(seventy, Demand()) / 2
    assert layer_bytes(seventy, Demand(cards=16)) == layer_bytes(seventy, Demand()) / 8
    assert layer_bytes(latent, Demand(cards=2)) == layer_bytes(latent, Demand())


def test_a_layer_with_a_window_keeps_the_window_and_the_batch() -> None:
    gemma, large, small = shape_of(GEMMA_2_9B, 1), card(H100), card(L4)
    layer = 2 * 8 * 256 * 2
    assert request_bytes(gemma, Demand(), small, 1024) == 42 * 1024 * layer
    # On the small card 4095 tokens of the window and 2048 of the batch in blocks, and one block where the window ends in one.
    assert request_bytes(gemma, Demand(), small, 8192) == (21 * 8192 + 21 * (4096 + 2048 + 16)) * layer
    assert request_bytes(gemma, Demand(), large, 8192) == 42 * 8192 * layer


@pytest.mark.parametrize(
    ("model", "fake", "cards", "weights", "other", "kv", "requests"),
    [
        # 7B: 6,738,415,616 numbers of 2 bytes. L4: (23034 - 512) x 0.9 = 20269.8. Other: process 1024, 2048 tokens of
        # (3 x 11008 + 3 x 4096) x 2 bytes = 177, 256 requests x 32000 logits x 22 bytes = 171.9, graphs 32 x 16.
        (LLAMA_2_7B, L4, 1, 12852.5, 1884.9, 5532.4, (5532.4 - 8) / 2048),
        # H100: (81559 - 512) x 0.9 = 72942.3. Other: 1024, 8192 tokens 708, 1024 requests 687.5, 512.
        (LLAMA_2_7B, H100, 1, 12852.5, 2931.5, 57158.3, (57158.3 - 8) / 2048),
        # 13B: 13,015,864,320 numbers. A100 of 40 GB: (40960 - 512) x 0.9 = 36403.2. Other: 1024, 2048 tokens of
        # (3 x 13824 + 3 x 5120) x 2 bytes = 222, 171.9, graphs 40 x 16.
        (LLAMA_2_13B, A100_40, 1, 24825.8, 2057.9, 9519.5, (9519.5 - 12.5) / 3200),
        (LLAMA_2_13B, A100, 1, 24825.8, 2057.9, 46383.5, (46383.5 - 12.5) / 3200),
        # 70B in AWQ: 34917.5 by two. A100: (81920 - 512) x 0.9 = 73267.2. Other: 2048, 2048 tokens of
        # (3 x 14336 + 3 x 8192) x 2 bytes = 264, 171.9, graphs 80 x 16. A token: 160 KiB on each card.
        (LLAMA_2_70B_AWQ, A100, 2, 17458.8, 3763.9, 52044.5, (52044.5 - 2.5) / 640),
    ],
)
def test_what_fits_with_its_numbers(
    model: Model, fake: FakeCard, cards: int, weights: float, other: float, kv: float, requests: float
) -> None:
    found = estimate(shape(model), Demand(cards=cards), card(fake))
    seen = [found.weights_bytes / MIB, found.other_bytes / MIB, found.kv_bytes / MIB]
    assert seen == pytest.approx([weights, other, kv], abs=0.1)
    assert found.requests == pytest.approx(requests, rel=1e-3)
    assert found.fits
    assert not found.cannot_fit


@pytest.mark.parametrize(
    ("model", "fake", "cards"),
    [
        (LLAMA_2_7B, T4, 1),
        (LLAMA_2_13B, T4, 2),
        (LLAMA_2_13B, L4, 1),
        (LLAMA_2_70B_AWQ, L4, 1),
        (LLAMA_2_70B_AWQ, A100_40, 0),
    ],
)
def test_what_does_not_fit(model: Model, fake: FakeCard, cards: int) -> None:
    found = estimate(shape(model), Demand(cards=cards or 1), card(fake))
    assert not found.fits
    assert found.cannot_fit == (cards > 0)  # 70B in AWQ on 40 GB is within what is only estimated


def test_a_published_measurement_is_near() -> None:
    # vLLM #10511: Meta-Llama-3-8B, 79.22 GiB x 0.9 = 71.29; weights 14.96, 53.29 GiB left for the KV cache.
    found = estimate(
        shape(LLAMA_3_8B), Demand(max_model_len=8192), CardMemory("NVIDIA A100", int(79.22 * GIB) + 512 * MIB)
    )
    assert found.budget_bytes / GIB == pytest.approx(71.29, abs=0.01)
    assert found.weights_bytes / GIB == pytest.approx(14.96, abs=0.01)
    assert found.kv_bytes / GIB == pytest.approx(53.29, abs=1.0)


def fits(model: Model, demand: Demand, on: CardMemory) -> bool:
    return estimate(shape(model), demand, on).fits


@pytest.mark.parametrize("model", [LLAMA_2_7B, LLAMA_2_13B, LLAMA_3_8B])
@pytest.mark.parametrize("fraction", [0.62, 0.68, 0.9])
@pytest.mark.parametrize("fake", [L4, A100_40])
def test_the_largest_context_fits_and_one_block_more_does_not(model: Model, fraction: float, fake: FakeCard) -> None:
    demand = Demand(fraction=fraction)
    longest = largest_context(shape(model), demand, card(fake))
    if longest:
        assert fits(model, replace(demand, max_model_len=longest), card(fake))
    if longest < shape(model).longest:
        assert not fits(model, replace(demand, max_model_len=longest + BLOCK_TOKENS), card(fake))


@pytest.mark.parametrize(
    ("model", "fake"), [(LLAMA_2_7B, L4), (LLAMA_2_7B, H100), (LLAMA_2_13B, A100_40), (LLAMA_3_8B, L4)]
)
def test_the_smallest_fraction_fits_and_a_hundredth_less_does_not(model: Model, fake: FakeCard) -> None:
    fraction = smallest_fraction(shape(model), Demand(), card(fake))
    assert fraction is not None
    assert fits(model, Demand(fraction=fraction), card(fake))
    assert not fits(model, Demand(fraction=round(fraction - 0.01, 2)), card(fake))


def test_what_others_hold_bounds_the_fraction_and_the_context() -> None:
    free, busy = card(H100), card(H100, taken=40000)
    assert largest_fraction(free) == 1
    assert largest_fraction(busy) == 0.50  # (81047 - 40000) / 81047
    assert largest_context(shape(LLAMA_2_7B), Demand(), busy) == 0  # vLLM would not start at 0.9
    assert largest_context(shape(LLAMA_2_7B), Demand(fraction=0.5), busy) == 4096
    assert smallest_fraction(shape(LLAMA_2_13B), Demand(), card(H100, taken=60000)) is None
    assert not fits(LLAMA_2_7B, Demand(fraction=0.51), busy)


@pytest.mark.parametrize(
    ("model", "fraction", "taken", "safe"),
    [
        (LLAMA_2_7B, 0.9, 0, (0.9, 4096)),  # as it is
        (LLAMA_2_7B, 0.9, 40000, (0.5, 4096)),  # others leave half of the card
        (LLAMA_2_7B, 0.23, 0, (0.23, 4096)),
        (LLAMA_2_7B, 0.21, 0, (0.21, 2448)),  # (0.21 x 81047 - 12852.5 - 2931.5 - 8) MiB by 8 MiB a block
        (LLAMA_2_7B, 0.9, 70000, None),
        (LLAMA_2_13B, 0.9, 81047, None),
    ],
)
def test_safe_values_lower_the_fraction_first_and_then_the_context(
    model: Model, fraction: float, taken: int, safe: tuple[float, int] | None
) -> None:
    demand, on = Demand(fraction=fraction), card(H100, taken)
    found = safe_values(shape(model), demand, on)
    assert found == safe
    assert safe is None or fits(model, replace(demand, fraction=safe[0], max_model_len=safe[1]), on)


def test_a_fixed_cache_must_hold_a_request_and_the_block_that_vllm_keeps() -> None:
    two = estimate(shape(LLAMA_2_7B), Demand(kv_cache_bytes=2 * GIB), card(H100))
    assert two.lacks_cache
    assert two.cannot_fit
    more = estimate(shape(LLAMA_2_7B), Demand(kv_cache_bytes=2 * GIB + 8 * MIB), card(H100))
    assert more.fits
    assert more.requests == 1
    assert more.room_tokens == 4096
    assert largest_context(shape(LLAMA_2_7B), Demand(kv_cache_bytes=2 * GIB), card(H100)) == 4080
    # It does not ask for a share of the card, only for what it takes.
    assert not estimate(shape(LLAMA_2_7B), Demand(kv_cache_bytes=6 * GIB), card(H100, taken=60000)).fits


def test_a_fixed_cache_that_is_too_large_is_told_what_there_is_room_for() -> None:
    seven, too_much = shape(LLAMA_2_7B), Demand(kv_cache_bytes=16 * GIB)
    assert largest_context(seven, too_much, card(L4)) == 0  # fewer tokens make a cache of fixed size no smaller
    largest = largest_cache(seven, too_much, card(L4))
    assert largest == (23034 - 512) * MIB - LLAMA_2_7B[1] - estimate(seven, too_much, card(L4)).other_bytes
    assert fits(LLAMA_2_7B, Demand(kv_cache_bytes=largest), card(L4))
    assert not fits(LLAMA_2_7B, Demand(kv_cache_bytes=largest + 1), card(L4))
    assert largest_cache(seven, too_much, card(L4, taken=8000)) is None


def test_more_cards_are_named_only_where_the_heads_can_be_shared() -> None:
    assert fewest_cards(shape(LLAMA_2_13B), Demand(), card(L4)) == 2
    assert fewest_cards(shape(LLAMA_2_13B), Demand(), card(T4)) == 4
    odd = shape_of(llama(5120, 13824, 40, 25, 25, head_dim=128), LLAMA_2_13B[1])
    assert fewest_cards(odd, Demand(), card(L4)) is None


@pytest.mark.parametrize(
    ("demand", "gib"),
    [
        (Demand(), 24.24),
        (Demand(dtype="float32"), 48.49),
        # Linear weights in 8 bits, 2 x 32000 x 5120 numbers of embeddings and head in 16.
        (Demand(quantization="fp8_per_tensor"), 12.43),
    ],
)
def test_the_weights_are_as_large_as_the_type_that_they_are_loaded_in(demand: Demand, gib: float) -> None:
    assert loaded_bytes(shape(LLAMA_2_13B), demand) / GIB == pytest.approx(gib, abs=0.01)


def test_a_model_of_32_bits_is_loaded_in_16_and_a_quantised_one_as_it_is() -> None:
    config, size = LLAMA_2_7B
    assert loaded_bytes(shape_of(config | {"torch_dtype": "float32"}, 2 * size), Demand()) == size
    assert loaded_bytes(shape(LLAMA_2_70B_AWQ), Demand(dtype="float16")) == LLAMA_2_70B_AWQ[1]


def test_without_graphs_their_memory_is_the_caches() -> None:
    graphs, eager = (estimate(shape(LLAMA_2_7B), Demand(enforce_eager=eager), card(L4)) for eager in (False, True))
    assert eager.kv_bytes - graphs.kv_bytes == 512 * MIB


def test_the_settings_say_what_is_asked() -> None:
    vllm = {
        "max_model_len": 2048, "gpu_memory_utilization": 0.8, "tensor_parallel_size": 2, "dtype": "half",
        "kv_cache_dtype": "fp8", "kv_cache_memory": "4G", "quantization": "awq", "enforce_eager": True,
    }  # fmt: skip
    assert demand_of(site_of(vllm=vllm)) == Demand(2048, 0.8, 2, "half", "fp8", "awq", 4 * GIB, True)
    assert demand_of(site_of()) == Demand()


def test_a_sentence_for_people() -> None:
    found: Estimate = estimate(shape(LLAMA_2_13B), Demand(), card(A100_40))
    assert str(found) == "weights 24.2 + about 2.0 for computing + KV cache 9.3 of 35.6 GiB (0.9 of 39.5)"
    assert "nothing is left for the KV cache" in str(estimate(shape(LLAMA_2_13B), Demand(), card(L4)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"hidden_size": None}, "no hidden_size"),
        ({"layer_types": ["linear_attention", "full_attention"]}, "linear_attention"),
    ],
)
def test_a_model_that_cannot_be_worked_out_says_why(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownModel, match=said):
        shape_of(LLAMA_2_7B[0] | change, 1)
    with pytest.raises(UnknownModel, match="how large"):
        shape_of(LLAMA_2_7B[0], 0)


def test_the_text_part_of_a_model_that_also_sees_counts() -> None:
    seeing = shape_of({"model_type": "llava", "text_config": LLAMA_2_7B[0], "vision_config": {"hidden_size": 1024}}, 1)
    assert replace(seeing, weights_bytes=LLAMA_2_7B[1]) == shape(LLAMA_2_7B)


@pytest.mark.parametrize(
    ("config", "window_layers"),
    [
        ({"sliding_window": 4096}, 32),  # Mistral 7B of 2023
        ({"sliding_window": 4096, "use_sliding_window": False}, 0),  # Qwen2
        ({"sliding_window": 1024, "sliding_window_pattern": 6}, 27),  # Gemma 3
        ({"sliding_window": None}, 0),
    ],
)
def test_which_layers_have_a_window(config: dict[str, Any], window_layers: int) -> None:
    assert shape_of(LLAMA_2_7B[0] | config, 1).window_layers == window_layers


@pytest.mark.parametrize(
    ("config", "longest"),
    [
        ({}, 4096),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, 0),
        ({"rope_scaling": {"rope_type": "llama3"}}, 4096),
    ],
)
def test_the_context_that_a_model_was_made_for(config: dict[str, Any], longest: int) -> None:
    assert shape_of(LLAMA_2_7B[0] | config, 1).longest == longest


@pytest.mark.parametrize(
    ("files", "size"),
    [
        ({"model-1.safetensors": 3, "model-2.safetensors": 4, "pytorch_model.bin": 9, "config.json": 1}, 7),
        ({"model.safetensors": 3, "consolidated.safetensors": 3, "onnx/model.safetensors": 8}, 3),
        ({"consolidated.safetensors": 3}, 3),
        ({"pytorch_model-1.bin": 4, "pytorch_model-2.bin": 4, "training_args.bin": 1}, 8),
        ({"model.safetensors": 3, "adapter_model.safetensors": 1}, 3),
        ({"README.md": 1}, 0),
    ],
)
def test_which_files_are_the_weights(files: dict[str, int], size: int) -> None:
    assert weights_in(files) == size


def test_the_method_that_config_json_names() -> None:
    assert quantization_of(LLAMA_2_70B_AWQ[0]) == "awq"
    assert quantization_of({"compression_config": {"quant_method": "compressed-tensors"}}) == "compressed-tensors"
    assert quantization_of(LLAMA_2_7B[0]) is None
