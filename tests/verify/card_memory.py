"""Who holds how much of which card, against the plan of the settings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roles.gpus import CONTEXT_BYTES, DRIVER_BYTES, MIB, CardSize, budget, size_of, used_cards
from roles.layout import OLLAMA_EMBED, OLLAMA_TEXT, OLLAMA_VISION, VLLM, VLLM_VISION
from roles.site import Site
from roles.vllm.settings import VllmServer

CARDS_QUERY = "nvidia-smi --query-gpu=index,uuid,memory.total --format=csv,noheader,nounits"
APPS_QUERY = "nvidia-smi --query-compute-apps=gpu_uuid,pid,used_memory --format=csv,noheader,nounits"
# vLLM takes its share for weights, activations and KV cache; CUDA's context and graphs come on top of it.
ON_TOP = CONTEXT_BYTES + DRIVER_BYTES
# Below this part of its share vLLM has not taken what the settings say: another setting, or another process was there first.
LEAST = 0.8


@dataclass(frozen=True)
class App:
    """A process on a card. `used_bytes` is None where the driver does not tell (MIG, some virtual machines)."""

    uuid: str
    pid: int
    used_bytes: int | None


def parse_cards(text: str) -> list[CardSize]:
    """What CARDS_QUERY printed."""
    return [CardSize(int(index), uuid, int(total) * MIB) for index, uuid, total in _rows(text) if total.isdigit()]


def parse_apps(text: str) -> list[App]:
    """What APPS_QUERY printed."""
    return [App(uuid, int(pid), int(used) * MIB if used.isdigit() else None) for uuid, pid, used in _rows(text)]


def _rows(text: str) -> Iterator[list[str]]:
    """The three cells of each line."""
    return ([cell.strip() for cell in line.split(",")] for line in text.splitlines() if line.count(",") == 2)


def held(apps: Iterable[App], units: Mapping[int, str]) -> dict[tuple[str, str], int | None]:
    """By unit ("" for a process of none) and card, the bytes of all its processes; None where the driver does not tell."""
    sums: dict[tuple[str, str], int | None] = {}
    for app in apps:
        key = units.get(app.pid, ""), app.uuid
        before = sums.get(key, 0)
        sums[key] = None if before is None or app.used_bytes is None else before + app.used_bytes
    return sums


def not_as_planned(site: Site, cards: Sequence[CardSize], holds: Mapping[tuple[str, str], int | None]) -> list[str]:
    """One line for each share of a card that is not what the settings plan, with both numbers and the setting."""
    lines = []
    if site.phase == 2:
        planned = {line.card.uuid: line for line in budget(site, cards)}
        for card in cards:
            line, seen = planned.get(card.uuid), (holds.get((unit, card.uuid), 0) for unit in (VLLM, VLLM_VISION))
            lines += _of_vllm(VLLM, "vllm", site.vllm, card, line.vllm_bytes if line else 0, next(seen))
            sees = line.vllm_vision_bytes if line else 0
            lines += _of_vllm(VLLM_VISION, "vllm_vision", site.vllm_vision, card, sees, next(seen))
    vision, text = site.ollama.vision, site.ollama.text
    theirs = {OLLAMA_VISION: ("ollama.vision", used_cards(vision.gpus, site.vllm.gpus, cards))}
    if site.vision_on_vllm:
        theirs = {OLLAMA_EMBED: ("ollama.vision", _named(vision.gpus, cards))}
    if site.phase == 1:
        theirs = {
            OLLAMA_VISION: ("ollama.vision", _named(vision.gpus, cards)),
            OLLAMA_TEXT: ("ollama.text", _named(text.gpus, cards)),
        }
    for unit, (key, allowed) in theirs.items():
        for card in cards:
            used = holds.get((unit, card.uuid), 0)
            if (unit, card.uuid) in holds and card not in allowed:
                lines.append(f"{unit} is on card {card.uuid}, which {key}.gpus does not give it")
            elif (
                unit in (OLLAMA_VISION, OLLAMA_EMBED)
                and vision.memory
                and used
                and used > size_of(vision.memory) + ON_TOP
            ):
                lines.append(
                    f"{unit} holds {used // MIB} MiB of card {card.uuid}, ollama.vision.memory is {vision.memory}"
                )
    return lines


def _named(names: Sequence[str], cards: Sequence[CardSize]) -> list[CardSize]:
    return used_cards(names, (), cards)


def _of_vllm(unit: str, key: str, server: VllmServer, card: CardSize, planned: int, used: int | None) -> list[str]:
    if used is None:
        return []
    if not planned:
        return [f"{unit} is on card {card.uuid}, which {key}.gpus does not give it"] if used else []
    setting = f"{key}.gpu_memory_utilization = {server.gpu_memory_utilization}"
    if server.kv_cache_memory is not None:  # what the weights take is not in the settings
        least, most, setting = size_of(server.kv_cache_memory), card.total_bytes, f"{key}.kv_cache_memory"
    else:
        least, most = int(planned * LEAST), planned + ON_TOP
    if least <= used <= most:
        return []
    return [
        f"{unit} holds {used // MIB} MiB of card {card.uuid}, planned {planned // MIB} of {card.total_bytes // MIB} MiB ({setting})"
    ]


def in_host_memory(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each model of Ollama's /api/ps that is not wholly on a card: it is computed by the processor in part."""
    lines = []
    for model in models:
        size, on_card = model.get("size", 0), model.get("size_vram", 0)
        if on_card < size:
            share = 100 * (size - on_card) // size
            lines.append(
                f"{model['name']}: {max(share, 1)} % in the host's memory ({(size - on_card) // MIB} of {size // MIB} MiB)"
            )
    return lines
