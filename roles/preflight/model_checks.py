"""Judgements on the text model and the cards: does it fit, with how much context; can the cards do its quantisation. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from roles.cards import VLLM_FLOOR
from roles.facts.evidence import Card, Evidence
from roles.facts.survey import ModelSeen
from roles.gpus import MIB, CardSize, budget, size_of, vllm_uses, vllm_vision_uses
from roles.pins import pins
from roles.preflight.card_checks import foreign_apps
from roles.preflight.findings import Finding, error, note, warning
from roles.quantization import FP8_CACHE_FLOOR, FP8_FLOOR, FP8_METHODS, FURTHER, NEEDS, ONLINE, disagreement, method_of
from roles.site import Site
from roles.vllm.settings import VllmServer
from roles.vllm_memory import (
    CardMemory,
    Demand,
    Estimate,
    demand_of,
    estimate,
    fewest_cards,
    gib,
    largest_cache,
    largest_context,
    loaded_bytes,
    smallest_fraction,
)
from roles.vllm_model import ModelShape, UnknownModel, quantization_of, shape_of, weights_in

ABOUT = "vLLM memory"
# Arguments after which the sum is another one: it says so then, and refuses nobody.
OTHER_SUMS = ("--cpu-offload", "--pipeline-parallel", "-pp", "--max-model-len", "--gpu-memory", "--max-num-", "--kv-cache", "-tp",
              "--tensor-parallel", "--kv-offloading", "--block-size", "--hf-overrides", "--config")  # fmt: skip
LEAST_CONTEXT = 256  # shorter than this, fewer tokens are no remedy


def model_findings(site: Site, seen: Evidence, model: ModelSeen | None) -> list[Finding]:
    """Everything about the model that speaks against starting vLLM with it on these cards.

    :param model: the wanted revision as the host or the hub has it; None where neither tells.
    """
    if site.phase != 2:
        return []
    config = _object(model.config) if model else None
    found = list(_quantization("vllm", site.vllm, vllm_uses(site, seen.cards), config))
    if site.vision_on_vllm:
        # Nobody reads the config.json of the model for pictures here: only what the settings say is judged.
        found += _quantization("vllm_vision", site.vllm_vision, vllm_vision_uses(site, seen.cards), None)
    if site.gpu == "none":
        return found
    if site.vision_on_vllm:
        found.append(note(ABOUT, "not worked out for vllm_vision: only the shares are added up"))
    if model is None or config is None:
        why = "neither the host nor the hub has shown its config.json"
        return [*found, note(ABOUT, f"not worked out for {site.vllm.model}: {why}")]
    size = size_of(site.vllm.weights_size) if site.vllm.weights_size else weights_in(model.files)
    try:
        shape = shape_of(config, size)
    except UnknownModel as problem:
        hint = "" if size else "; vllm.weights_size can"
        return [*found, note(ABOUT, f"not worked out for {site.vllm.model}: {problem}{hint}")]
    return [*found, *_shape(site, shape), *_memory(site, seen, shape)]


def _quantization(
    key: str, server: VllmServer, cards: list[Card], config: Mapping[str, Any] | None
) -> Iterator[Finding]:
    """Of one vLLM. :param key: its section of the settings. :param config: of its model; None where nobody has shown it."""
    stored = quantization_of(config) if config is not None else None
    wanted = server.quantization
    method = method_of(wanted, stored)
    if config is not None and (why := disagreement(wanted, stored)):
        if stored is None:
            yield error(
                f"{key}.quantization",
                f"{wanted}, but {why}",
                f'set {key} = {{"quantization": "fp8_per_tensor"}} to make it smaller while it is loaded, '
                f"or set {key}.model to one that is stored as {wanted}",
            )
        else:
            remedy = f"take {key}.quantization out of the inventory, or set {key}.model to one that is not quantised"
            yield error(f"{key}.quantization", f"{wanted}, but {why}", remedy)
    if stored and stored not in NEEDS and stored not in FURTHER:
        yield error(
            f"{key}.model",
            f"{server.model} is stored as {stored}, which vLLM {pins().vllm.cuda} does not know",
            f"set {key}.model to a variant of it that is stored as one of " + ", ".join(sorted(set(NEEDS) - ONLINE)),
        )
    if method in NEEDS:
        yield from _method(key, server, cards, str(method))
    if server.kv_cache_dtype != "auto":
        for card in cards:
            if card.capability < FP8_CACHE_FLOOR:
                fact = f"{card.name} has compute capability {card.capability}, a KV cache in 8 bits needs {FP8_CACHE_FLOOR}"
                yield error(f"{key}.kv_cache_dtype", fact, f'set {key} = {{"kv_cache_dtype": "auto"}}')
                break


def _method(key: str, server: VllmServer, cards: list[Card], method: str) -> Iterator[Finding]:
    needs = NEEDS[method]
    about = f"{key}.quantization" if server.quantization else f"{key}.model"
    old = next((card for card in cards if card.capability < needs.capability), None)
    if old:
        yield error(
            about,
            f"{old.name} has compute capability {old.capability}, {method} needs {needs.capability}",
            f"set {key}.model to a variant of it that is stored as awq or gptq, or name newer cards in {key}.gpus",
        )
    if server.dtype not in needs.dtypes:
        given = " or ".join(sorted(needs.dtypes - {"auto", "half", "float"}))
        yield error(
            f"{key}.dtype", f"{server.dtype}, but {method} computes in {given}", f'set {key} = {{"dtype": "auto"}}'
        )
    slow = next((card for card in cards if card.capability < FP8_FLOOR), None)
    if slow and not old and method in FP8_METHODS:
        why = f"{slow.name} ({slow.capability}) multiplies no 8-bit floats, cards from {FP8_FLOOR} on do"
        yield note(about, f"{why}: {method} saves memory here, not time")


def _shape(site: Site, shape: ModelShape) -> Iterator[Finding]:
    length, cards = site.vllm.max_model_len, site.vllm.tensor_parallel_size
    if shape.longest and length > shape.longest:
        yield error(
            "vllm.max_model_len",
            f"{length}, but {site.vllm.model} was made for {shape.longest} tokens, and vLLM refuses more",
            f'set vllm = {{"max_model_len": {shape.longest}}} or less',
        )
    if shape.heads % cards:
        fit = max(number for number in range(1, cards) if shape.heads % number == 0)
        yield error(
            "vllm.tensor_parallel_size",
            f"the {shape.heads} attention heads of {site.vllm.model} cannot be shared evenly by {cards} cards",
            f'set vllm = {{"tensor_parallel_size": {fit}}}',
        )


def _memory(site: Site, seen: Evidence, shape: ModelShape) -> Iterator[Finding]:
    demand = demand_of(site)
    cards = [card for card in vllm_uses(site, seen.cards)[: demand.cards] if card.capability >= VLLM_FLOOR]
    if not seen.cards and any(
        not card.generation or card.generation.capability >= VLLM_FLOOR for card in seen.pci_cards
    ):
        yield note(ABOUT, _without_cards(shape, demand))
    alike: dict[CardMemory, list[Card]] = {}
    for card in cards:
        alike.setdefault(_memory_of(site, seen, card), []).append(card)
    for memory, these in alike.items():
        label = f"card {these[0].index} ({these[0].uuid})" if len(these) == 1 else f"each of {len(these)} {memory.name}"
        # What others hold too much of the card for vLLM's share is another finding (card_checks); here that share is taken as free.
        alone = memory if demand.kv_cache_bytes is not None else replace(memory, taken_bytes=0)
        verdict = _verdict(label, shape, estimate(shape, demand, alone), memory, min(card.capability for card in these))
        yield _with_extra_args(site, verdict)


def _with_extra_args(site: Site, verdict: Finding) -> Finding:
    changing = [word for word in site.vllm.extra_args if word.startswith(OTHER_SUMS)]
    if verdict.severity == "note" or not changing:
        return verdict
    return warning(ABOUT, f"{verdict.fact}, without {' '.join(changing)} of vllm.extra_args", verdict.remedy)


def _memory_of(site: Site, seen: Evidence, card: Card) -> CardMemory:
    """A card of the text model's vLLM; taken is what processes hold that are not ours, and what the budget gives to vision."""
    foreign = sum(app.memory for app in foreign_apps(seen) if app.uuid == card.uuid) * MIB
    lines = budget(site, [CardSize(one.index, one.uuid, one.memory_total * MIB) for one in seen.cards])
    vision = sum(line.vision_bytes + line.vllm_vision_bytes for line in lines if line.card.uuid == card.uuid)
    return CardMemory(card.name, card.memory_total * MIB, foreign + vision)


def _verdict(label: str, shape: ModelShape, found: Estimate, card: CardMemory, capability: float) -> Finding:
    length = found.demand.max_model_len
    if found.fits:
        room = f"room for {found.room_tokens} tokens = {found.requests:.1f} requests of max_model_len {length}"
        return note(ABOUT, f"{label}: {found}: fits, {room}")
    remedies = _remedies(shape, found.demand, card, capability)
    remedy = "set " + ", or ".join(remedies) if remedies else "set vllm.model to a smaller model"
    needs = f"one request of {length} tokens needs {gib(found.request_bytes)} GiB of KV cache"
    if found.cannot_fit:
        return error(ABOUT, f"{label}: {found}; {needs}: does not fit", remedy)
    # Only the estimated part decides: vLLM's own measurement has the last word.
    return warning(ABOUT, f"{label}: {found}; {needs}: probably does not fit", remedy)


def _remedies(shape: ModelShape, demand: Demand, card: CardMemory, capability: float) -> list[str]:
    """What would make it fit, each alone, the cheapest first; as settings."""
    found = []
    least = estimate(shape, demand, card)
    if demand.kv_cache_bytes is not None:
        if least.lacks_cache:
            return [f"vllm.kv_cache_memory to {-(-(least.request_bytes + least.block_bytes) // MIB)}M or more"]
        if largest := largest_cache(shape, demand, card):
            found.append(f"vllm.kv_cache_memory to {largest // MIB}M or less")
    else:
        fraction = smallest_fraction(shape, demand, card)
        # The budget of card_checks takes the share of the whole card, what the driver keeps included, and refuses what is above it.
        most = math.floor(100 * (card.usable_bytes - card.taken_bytes) / card.total_bytes) / 100
        if fraction and demand.fraction < fraction <= most:
            found.append(f"vllm.gpu_memory_utilization to {fraction:.2f}")
        if LEAST_CONTEXT <= (context := largest_context(shape, demand, card)) < demand.max_model_len:
            found.append(f"vllm.max_model_len to {context} or less")
    small = replace(demand, quantization="fp8_per_tensor")
    if shape.quantization is None and demand.quantization is None:
        if capability >= NEEDS["fp8_per_tensor"].capability and estimate(shape, small, card).fits:
            found.append(
                f'vllm.quantization to "fp8_per_tensor" (weights {gib(loaded_bytes(shape, small) // demand.cards)} GiB)'
            )
        else:
            found.append("vllm.model to a variant of it in 4 bits (AWQ or GPTQ)")
    if cards := fewest_cards(shape, demand, card):
        found.append(f"vllm.tensor_parallel_size to {cards}, with as many such cards")
    return found


def _without_cards(shape: ModelShape, demand: Demand) -> str:
    """Before a driver is there nobody knows the size of a card; then what is certain of the need."""
    # A card without a size: only what the size decides is left out.
    least = estimate(shape, replace(demand, kv_cache_bytes=None), CardMemory("", 0))
    sure = gib(least.weights_bytes + least.request_bytes)
    return (
        f"weights {gib(least.weights_bytes)} + KV cache {gib(least.request_bytes)} GiB for one request of {demand.max_model_len} "
        f"tokens = {sure} GiB of each card, and about {gib(least.other_bytes)} more for computing; "
        "the driver will tell how large the cards are"
    )


def _object(text: str) -> dict[str, Any] | None:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None
