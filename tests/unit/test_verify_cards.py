"""Memory of cards against the plan: from what nvidia-smi printed on a real H100, and from cards as the lab pretends them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from roles.gpus import MIB, CardSize
from roles.pins import ROOT
from roles.site import Site, site_from
from tests.verify.card_memory import App, held, in_host_memory, not_as_planned, parse_apps, parse_cards

UUID = "GPU-05846ccf-5d50-0812-f778-27fc5cc97349"
H100 = CardSize(0, UUID, 81559 * MIB)
OTHER = CardSize(1, "GPU-other", 81559 * MIB)
VLLM, VISION = "vllm.service", "ollama-vision.service"


def site(**settings: Any) -> Site:
    return site_from([settings], {})


def wrong(
    site: Site, unit: str, mib: int | None, card: CardSize = H100, cards: tuple[CardSize, ...] = (H100, OTHER)
) -> list[str]:
    return not_as_planned(site, cards, {(unit, card.uuid): None if mib is None else mib * MIB})


def of_vllm(site: Site, mib: int | None, card: CardSize = H100) -> list[str]:
    return wrong(site, VLLM, mib, card, (H100,) if card is H100 else (H100, OTHER))


def test_a_busy_h100_tells_its_cards_and_who_is_on_them() -> None:
    capture = json.loads((ROOT / "tests/captures/h100-580.159.04-busy.json").read_text())["commands"]
    index_uuid_total = ",".join(capture["resolve-gpus"]["out"].split(",")[i] for i in (0, 1, 4))
    assert parse_cards(index_uuid_total) == [H100]
    uuid, pid, _, used = capture["make-room apps"]["out"].strip().split(",")
    apps = parse_apps(f"{uuid},{pid},{used}\n")
    assert apps == [App(UUID, 534, 20998 * MIB)]
    assert held(apps, {}) == {("", UUID): 20998 * MIB}


def test_no_card_and_no_number_are_no_rows() -> None:
    assert parse_cards("No devices were found\n") == []
    assert parse_apps(f"{UUID}, 534, [N/A]\n") == [App(UUID, 534, None)]


def test_processes_of_a_unit_are_added_up_and_one_that_is_not_told_leaves_the_sum_open() -> None:
    apps = [App(UUID, 1, 10), App(UUID, 2, 20), App(UUID, 3, 5)]
    assert held(apps, {1: VLLM, 2: VLLM, 3: VISION}) == {(VLLM, UUID): 30, (VISION, UUID): 5}
    assert held([*apps, App(UUID, 4, None), App(UUID, 5, 1)], {4: VLLM, 5: VLLM})[VLLM, UUID] is None


@pytest.mark.parametrize("mib", [73403, 73403 + 1000, 60000, None])
def test_vllms_share_with_what_cuda_needs_on_top_is_as_planned(mib: int | None) -> None:
    assert of_vllm(site(), mib) == []


@pytest.mark.parametrize("mib", [80000, 30000, 0])
def test_more_or_much_less_than_the_share_is_told_with_both_numbers_and_the_setting(mib: int) -> None:
    assert of_vllm(site(), mib) == [
        f"vllm.service holds {mib} MiB of card {UUID}, planned 73403 of 81559 MiB (vllm.gpu_memory_utilization = 0.9)"
    ]


def test_another_share_is_another_plan() -> None:
    half = site(vllm={"gpu_memory_utilization": 0.5})
    assert of_vllm(half, 40000) == []
    assert of_vllm(half, 73403) != []


def test_a_fixed_cache_is_at_least_itself() -> None:
    fixed = site(vllm={"kv_cache_memory": "8G"})
    assert of_vllm(fixed, 22000) == []
    assert of_vllm(fixed, 4000) != []


def test_a_service_on_a_card_that_is_not_its_own_is_told_with_the_setting() -> None:
    apart = site(vllm={"gpus": (UUID,)}, ollama={"vision": {"gpus": ("GPU-other",)}})
    assert f"vllm.service is on card {OTHER.uuid}, which vllm.gpus does not give it" in of_vllm(apart, 500, OTHER)
    assert f"ollama-vision.service is on card {UUID}, which ollama.vision.gpus does not give it" in wrong(
        apart, VISION, 500
    )


def test_vision_is_kept_to_its_memory() -> None:
    kept = site(phase=1, ollama={"vision": {"memory": "8G"}})
    assert wrong(kept, VISION, 8192 + 900) == []
    assert wrong(kept, VISION, 12000) == [
        f"ollama-vision.service holds 12000 MiB of card {UUID}, ollama.vision.memory is 8G"
    ]


def test_a_model_that_is_partly_in_the_hosts_memory_falls_back_to_the_processor() -> None:
    models = [
        {"name": "llava:7b", "size": 6000 * MIB, "size_vram": 4500 * MIB},
        {"name": "nomic-embed-text:latest", "size": 600 * MIB, "size_vram": 600 * MIB},
        {"name": "bert", "size": 600 * MIB},
    ]
    assert in_host_memory(models) == [
        "llava:7b: 25 % in the host's memory (1500 of 6000 MiB)",
        "bert: 100 % in the host's memory (600 of 600 MiB)",
    ]
    assert in_host_memory(models[1:2]) == []
