"""Diagnoses of the cards' memory, with the numbers that vLLM and torch gave and the settings that follow from them. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from roles.doctor.case import GIB, Case, quote
from roles.doctor.diagnosis import Diagnosis
from roles.gpus import MIB, vllm_uses
from roles.vllm_memory import CardMemory, demand_of, safe_values

NUMBER = r"(\d+(?:\.\d+)?)"
AT_START = (
    rf"Free memory on device .*?\({NUMBER}/{NUMBER} GiB\) on startup is less than desired GPU memory utilization "
    rf"\({NUMBER}, {NUMBER} GiB\)"
)
NO_CACHE = r"No available memory for the cache blocks"
CACHE_TOO_SMALL = rf"max seq len \((\d+)\), \({NUMBER} GiB KV cache is needed, .*?KV cache memory \({NUMBER} GiB\)"
LONGEST = r"estimated maximum model length is (\d+)"
ALLOCATION = (
    r"CUDA out of memory\. Tried to allocate (\d+(?:\.\d+)?) (GiB|MiB|KiB)\. GPU (\d+) has a total capacity of "
    r"(\d+(?:\.\d+)?) (GiB|MiB) of which (\d+(?:\.\d+)?) (GiB|MiB|KiB) is free"
)
OTHER = r"CUDA out of memory|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED"
SIZES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SPARE_GIB = 0.3  # what a card's free memory may differ by from one look to the next
LOWEST, HIGHEST = 0.1, 0.97  # above that the driver's own share is missing


def safe_fraction(free_gib: float, total_gib: float) -> float:
    """The largest vllm.gpu_memory_utilization that a card with so much free memory can give, in steps of 0.01, rounded down.

    0.0 where it cannot give a tenth of itself.
    """
    fraction = math.floor((free_gib - SPARE_GIB) / total_gib * 100) / 100
    return min(fraction, HIGHEST) if fraction >= LOWEST else 0.0


def needed_fraction(fraction: float, lacking_gib: float, total_gib: float) -> float | None:
    """The smallest fraction that has room for so much more, in steps of 0.01, rounded up; None: the card cannot give it."""
    wanted = math.ceil((fraction + (lacking_gib + SPARE_GIB) / total_gib) * 100 - 1e-9) / 100
    return wanted if wanted <= HIGHEST else None


def safe_context(longest: int) -> int:
    """A context just below what fits, in steps of 256 tokens (16 below that)."""
    step = 256 if longest >= 512 else 16
    return max(step, longest // step * step)


def vram_diagnoses(case: Case) -> Iterator[Diagnosis]:
    """Of the last start that failed: too little free at its begin, no room for the cache, or an allocation that failed."""
    yield from taken_at_start(case)
    yield from no_room_for_cache(case)
    yield from allocation_failed(case)


@dataclass(frozen=True)
class WorkedOut:
    """What starts on a card as it is now: a fraction and a context, or neither; `text` says so, "" where they are as they are."""

    fits: bool
    text: str


def worked_out(case: Case) -> WorkedOut | None:
    """From the model's files; None where they do not tell, or the card has slices."""
    cards = vllm_uses(case.site, case.machine.cards)
    if case.shape is None or not cards or cards[0].mig or case.about != "vllm":
        return None
    card = cards[0]
    others = sum(app.memory for app in case.machine.apps if app.uuid == card.uuid and app.unit != case.engine)
    found = safe_values(case.shape, demand_of(case.site), CardMemory(card.name, card.memory_total * MIB, others * MIB))
    if found is None:
        return WorkedOut(
            False, f"worked out from its files, no setting has this model start on {card.name} as it is now"
        )
    if found == (case.server.gpu_memory_utilization, case.server.max_model_len):
        return WorkedOut(True, "")
    fraction, context = found
    pair = f"vllm.gpu_memory_utilization = {fraction:g} with vllm.max_model_len = {context}"
    return WorkedOut(True, f"worked out from its files, {pair} starts on {card.name} as it is now")


def _worked_out(case: Case) -> tuple[str, ...]:
    found = worked_out(case)
    return (found.text,) if found and found.text else ()


def taken_at_start(case: Case) -> Iterator[Diagnosis]:
    """Others have part of the share that vLLM was promised."""
    found = case.said(case.engine, AT_START)
    if found is None:
        return
    free, total, fraction, wanted = (float(text) for text in found[1].groups())
    safe = safe_fraction(free, total)
    lower = f"set {case.about}.gpu_memory_utilization = {safe} (now {fraction:g}), then: {case.deploy}" if safe else ""
    end = f"end what else holds the card's memory (nvidia-smi on the host), and: systemctl restart {case.name}"
    yield Diagnosis(
        "cards-memory-taken",
        "certain",
        f"vLLM wants {wanted:g} GiB of a card that has {free:g} of {total:g} GiB free",
        (quote(case.engine, found[0]), *holders(case), *_worked_out(case)),
        f"{end}; or {lower}" if lower else end,
        follows=("orphans-on-cards",),
    )


def holders(case: Case) -> tuple[str, ...]:
    """Who else has memory of the cards, as evidence."""
    return tuple(f"on the cards: {app} holds {app.memory} MiB" for app in case.machine.apps if app.unit != case.engine)


def no_room_for_cache(case: Case) -> Iterator[Diagnosis]:
    """The weights fit; the keys and values of one longest request do not."""
    if found := case.said(case.engine, CACHE_TOO_SMALL):
        line, match = found
        context, needed, available = int(match[1]), float(match[2]), float(match[3])
        longest = re.search(LONGEST, line.text)
        ways = []
        if longest:
            ways.append(f"{case.about}.max_model_len = {safe_context(int(longest[1]))} (now {context})")
        whole = [card for card in vllm_uses(case.site, case.machine.cards) if not card.mig]
        total = max((card.memory_total * MIB / GIB for card in whole), default=0.0)
        fraction = needed_fraction(case.server.gpu_memory_utilization, needed - available, total) if total else None
        if fraction and fraction > case.server.gpu_memory_utilization:
            ways.append(
                f"{case.about}.gpu_memory_utilization = {fraction} (now {case.server.gpu_memory_utilization:g})"
            )
        ways.append(f"a smaller or a quantised model, or more cards ({case.about}.tensor_parallel_size)")
        yield Diagnosis(
            "context-too-long",
            "certain",
            f"a request of {context} tokens needs {needed:g} GiB for keys and values, and vLLM's share has {available:g}",
            (quote(case.engine, line),),
            f"set {', or '.join(ways)}; then: {case.deploy}",
        )
    elif found := case.said(case.engine, NO_CACHE):
        share = case.server.gpu_memory_utilization
        evidence = [quote(case.engine, found[0])]
        for card in case.machine.cards:
            evidence.append(
                f"card {card.index}: {card.memory_total} MiB, vLLM's share {share:g} of it: {int(card.memory_total * share)} MiB"
            )
        higher = f"{case.about}.gpu_memory_utilization (now {share:g}, at most {HIGHEST})" if share < HIGHEST else ""
        ways = [
            *([higher] if higher else []),
            "a smaller or a quantised model",
            f"more cards ({case.about}.tensor_parallel_size)",
        ]
        yield Diagnosis(
            "model-too-large",
            "certain",
            "the model's weights fill vLLM's share of the card: nothing is left for keys and values",
            tuple(evidence),
            f"set {', or '.join(ways)}; then: {case.deploy}",
        )


def allocation_failed(case: Case) -> Iterator[Diagnosis]:
    """torch asked for memory that the card did not have, at the start or under load."""
    if found := case.said(case.engine, ALLOCATION):
        line, match = found
        tried, total = float(match[1]) * SIZES[match[2]] / GIB, float(match[4]) * SIZES[match[5]] / GIB
        free = float(match[6]) * SIZES[match[7]] / GIB
        now = case.server.gpu_memory_utilization
        lower = math.floor((now - (tried - free + SPARE_GIB) / total) * 100) / 100
        known = worked_out(case)
        half = max(16, case.server.max_model_len // 2)
        if (known and not known.fits) or lower < LOWEST:
            ways = f"the model does not fit: a smaller or a quantised one, or more cards ({case.about}.tensor_parallel_size)"
        else:
            fraction = f"{case.about}.gpu_memory_utilization = {lower} (now {now:g})"
            ways = f"set {fraction}, or {case.about}.max_model_len = {half} (now {case.server.max_model_len})"
        yield Diagnosis(
            "cards-out-of-memory",
            "certain",
            f"card {match[3]} ran out of memory: {tried:.2f} GiB asked for, {free:.2f} of {total:.2f} free",
            (quote(case.engine, line), *holders(case), *_worked_out(case)),
            f"{ways}; then: {case.deploy}",
            follows=("orphans-on-cards",),
        )
    elif found := case.said(case.engine, OTHER):
        now = case.server.gpu_memory_utilization
        yield Diagnosis(
            "cards-out-of-memory",
            "likely",
            "a card ran out of memory",
            (quote(case.engine, found[0]),),
            f"set {case.about}.gpu_memory_utilization = {max(LOWEST, round(now - 0.1, 2)):g} (now {now:g}); then: {case.deploy}",
            follows=("orphans-on-cards",),
        )
