"""Which cards a service uses, and what fits on one."""

from __future__ import annotations

from typing import Any

import pytest

from roles.gpu_sharing import reserve, wanted
from roles.gpus import (
    CONTEXT_BYTES,
    DRIVER_BYTES,
    CardSize,
    budget,
    makes_room,
    shares_a_card,
    size_of,
    vllms_share_a_card,
)
from roles.layout import OLLAMA_EMBED, OLLAMA_TEXT, OLLAMA_VISION, VLLM, VLLM_VISION
from roles.settings import SettingsError
from roles.site import Site, site_from

GIB = 1 << 30
A, B = CardSize(0, "GPU-aaaa", 40 * GIB), CardSize(1, "GPU-bbbb", 80 * GIB)


def site_of(vllm: dict[str, Any] | None = None, vision: dict[str, Any] | None = None, **other: Any) -> Site:
    return site_from([{"vllm": vllm or {}, "ollama": {"vision": vision or {}}, **other}], {})


@pytest.mark.parametrize(("text", "size"), [("8G", 8 * GIB), ("64M", 64 << 20), ("3K", 3072), ("17", 17)])
def test_sizes_are_powers_of_1024(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("name", ["GPU-8f1c-22", "MIG-41d1", "0", "12"])
def test_a_card_is_named_by_uuid_or_index(name: str) -> None:
    assert site_of(vllm={"gpus": [name]}).vllm.gpus == (name,)


@pytest.mark.parametrize("name", ["", "-1", "all", "gpu-1", "GPU-", "0,1", "GPU-a\nX=1", "007"])
def test_anything_else_is_no_name_of_a_card(name: str) -> None:
    with pytest.raises(SettingsError):
        site_of(vllm={"gpus": [name]})


# vLLM's cards, vision's cards, what is left of card A and card B in GiB (None: nobody uses it).
DRIVER = DRIVER_BYTES / GIB
BUDGETS: list[tuple[dict[str, Any], dict[str, Any], float | None, float | None]] = [
    ({"gpu_memory_utilization": 0.5}, {"memory": "8G"}, 20 - 8 - DRIVER, 80 - 8 - DRIVER),  # none named: all shared
    ({"gpu_memory_utilization": 0.5, "gpus": ["0"]}, {"memory": "8G", "gpus": ["0"]}, 20 - 8 - DRIVER, None),
    ({"gpu_memory_utilization": 0.9, "gpus": ["0"]}, {"memory": "8G", "gpus": ["0"]}, 4 - 8 - DRIVER, None),
    ({"gpu_memory_utilization": 0.5, "gpus": ["GPU-aaaa"]}, {"memory": "8G", "gpus": ["1"]}, 20 - DRIVER, 72 - DRIVER),
    ({"gpu_memory_utilization": 0.5, "gpus": ["1"]}, {"memory": "8G"}, 32 - DRIVER, 40 - DRIVER),
    (
        {"gpu_memory_utilization": 0.5, "gpus": ["1", "0"], "tensor_parallel_size": 2},
        {"memory": "8G", "gpus": ["0"]},
        20 - 8 - DRIVER,
        40 - DRIVER,
    ),
    ({"kv_cache_memory": "10G", "gpus": ["0"]}, {"memory": "8G", "gpus": ["1"]}, 40 - 10 - 14 - 1, 72 - DRIVER),
]


@pytest.mark.parametrize(("vllm", "vision", "left_a", "left_b"), BUDGETS)
def test_what_is_left_of_each_card(
    vllm: dict[str, Any], vision: dict[str, Any], left_a: float | None, left_b: float | None
) -> None:
    lines = budget(site_of(vllm, vision), [A, B], weights_bytes=14 * GIB)
    left = {line.card: line.left_bytes / GIB for line in lines}
    wanted = {card: value for card, value in ((A, left_a), (B, left_b)) if value is not None}
    assert left == pytest.approx(wanted, abs=1e-6)
    assert DRIVER_BYTES + CONTEXT_BYTES == GIB  # the table's last row counts on it


def test_without_a_budget_vision_is_estimated_from_its_largest_models() -> None:
    site = site_of({"gpus": ["0"]}, {"gpus": ["1"], "max_loaded_models": 1})
    (_, line) = budget(site, [A, B], model_bytes={"llava:7b": 5 * GIB, "nomic-embed-text": GIB // 4})
    assert line.vision_bytes == 6 * GIB + 4096 * 512 * 1024 + CONTEXT_BYTES


def test_a_line_reads_as_a_sum() -> None:
    (line,) = budget(site_of({"gpus": ["0"], "gpu_memory_utilization": 0.5}, {"gpus": ["0"], "memory": "8G"}), [A, B])
    assert line.is_shared
    assert str(line) == "card 0 (GPU-aaaa): 512 MiB driver + 20480 MiB vLLM + 8192 MiB vision, of 40960 MiB"


@pytest.mark.parametrize(
    ("vllm", "vision", "shared"),
    [([], [], True), (["0"], ["0"], True), (["0"], ["1"], False), (["0"], [], False), (["0", "1"], ["1"], True)],
)
def test_sharing_is_declared_by_naming_a_card_in_both_settings_or_in_none(
    vllm: list[str], vision: list[str], shared: bool
) -> None:
    assert shares_a_card(site_of({"gpus": vllm}, {"gpus": vision})) is shared


def test_a_host_without_a_card_shares_none() -> None:
    assert not shares_a_card(site_of(gpu="none"))


def test_vision_is_kept_to_its_budget_only_beside_vllm_and_where_the_operator_gave_no_number() -> None:
    both = {"memory": "8G", "gpus": ["0"]}
    assert reserve(site_of({"gpus": ["0"]}, both)) is not None
    assert reserve(site_of({"gpus": ["0"]}, both, phase=1)) is None
    assert reserve(site_of({"gpus": ["0"]}, {**both, "gpu_overhead_bytes": 1})) is None
    assert reserve(site_of({"gpus": ["1"]}, both)) is None


def test_a_host_for_phase_1_alone_gives_vllm_no_card() -> None:
    told = wanted(site_of(phase=1, prepare="phase1"))
    assert [service["key"] for service in told["services"]] == ["ollama.vision.gpus", "ollama.text.gpus"]  # type: ignore[attr-defined]


def test_two_vllms_and_an_ollama_are_summed_up_on_the_card_that_they_share() -> None:
    site = site_from(
        [
            {
                "vision": "vllm", "vllm": {"gpus": ["0"], "gpu_memory_utilization": 0.5},
                "vllm_vision": {"gpus": ["0"], "gpu_memory_utilization": 0.25},
                "ollama": {"vision": {"gpus": ["0"], "memory": "2G"}},
            }
        ],
        {},
    )  # fmt: skip
    (line,) = budget(site, [A, B])
    told = "512 MiB driver + 20480 MiB vLLM + 10240 MiB vLLM for vision + 2048 MiB Ollama, of 40960 MiB"
    assert str(line) == f"card 0 (GPU-aaaa): {told}"
    assert line.left_bytes == (40960 - 512 - 20480 - 10240 - 2048) * 2**20
    assert vllms_share_a_card(site) and makes_room(site)


def test_resolve_gpus_is_told_of_both_vllms_and_of_ollama_for_the_rest() -> None:
    told = wanted(site_from([{"vision": "vllm", "vllm": {"gpus": ["0"]}, "vllm_vision": {"gpus": ["1"]}}], {}))
    units = [service["unit"] for service in told["services"]]  # type: ignore[attr-defined]
    assert units == [VLLM, VLLM_VISION, OLLAMA_VISION, OLLAMA_TEXT, OLLAMA_EMBED]
    assert (told["pair"], told["shared"], told["reserve"]) == ([VLLM, VLLM_VISION], False, None)
    assert "pair" not in wanted(site_from([{}], {}))
