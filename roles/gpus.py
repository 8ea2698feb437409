"""Which service uses which cards, what is shared, and what fits on a card. Pure: settings and card sizes in, numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from roles.site import Site
    from roles.vllm.settings import VllmServer

MIB = 1 << 20
UNITS = {"": 1, "K": 1 << 10, "M": MIB, "G": 1 << 30}
# What the driver keeps of a card, and one CUDA context for each process on it. Both are round figures above what data centre
# cards report; nobody has measured them for this project.
DRIVER_BYTES, CONTEXT_BYTES = 512 * MIB, 512 * MIB
# Models of Ollama in memory against their size on disk (graph, projector, fragments); an estimate, with a setting to replace it.
MODEL_FACTOR = 1.2
# Keys and values of one token: a model of 7 billion parameters without grouped attention, 16 bits. Larger is not usual for vision.
TOKEN_BYTES = 512 * 1024


def size_of(text: str) -> int:
    """Bytes of "8G", "512M" or plain digits, as the settings write them."""
    number, unit = (text[:-1], text[-1]) if text[-1:] in "KMG" else (text, "")
    return int(number) * UNITS[unit]


def shares_a_card(site: Site) -> bool:
    """Whether vLLM and vision are declared to use the same cards: both name a same one in the same words, or neither names any."""
    return site.gpu == "nvidia" and (
        bool(set(site.vllm.gpus) & set(site.ollama.vision.gpus)) or not (site.vllm.gpus or site.ollama.vision.gpus)
    )


def vllms_share_a_card(site: Site) -> bool:
    """Whether the two vLLMs of Phase 2 use a same card: both name one in the same words, or neither names any."""
    if site.gpu != "nvidia" or not site.vision_on_vllm:
        return False
    return bool(set(site.vllm.gpus) & set(site.vllm_vision.gpus)) or not (site.vllm.gpus or site.vllm_vision.gpus)


def makes_room(site: Site) -> bool:
    """Whether Ollama may hold memory that a vLLM of Phase 2 needs when it starts."""
    return shares_a_card(site) or (site.gpu == "nvidia" and site.vision_on_vllm)


@dataclass(frozen=True)
class CardSize:
    """One card of the host, as its driver reports it."""

    index: int
    uuid: str
    total_bytes: int


@dataclass(frozen=True)
class BudgetLine:
    """One card's memory, and who claims it. `left_bytes` below zero: it does not fit.

    vision_bytes: of Ollama. vllm_vision_bytes: of the vLLM for pictures, where there is one.
    """

    card: CardSize
    driver_bytes: int
    vllm_bytes: int
    vision_bytes: int
    vllm_vision_bytes: int = 0

    @property
    def left_bytes(self) -> int:
        return self.card.total_bytes - self.driver_bytes - self.vllm_bytes - self.vllm_vision_bytes - self.vision_bytes

    @property
    def is_shared(self) -> bool:
        return sum(map(bool, (self.vllm_bytes, self.vllm_vision_bytes, self.vision_bytes))) > 1

    def __str__(self) -> str:
        parts = (
            (self.driver_bytes, "driver"),
            (self.vllm_bytes, "vLLM"),
            (self.vllm_vision_bytes, "vLLM for vision"),
            (self.vision_bytes, "Ollama" if self.vllm_vision_bytes else "vision"),
        )
        sums = " + ".join(f"{size // MIB} MiB {who}" for size, who in parts if size)
        return f"card {self.card.index} ({self.card.uuid}): {sums}, of {self.card.total_bytes // MIB} MiB"


def budget(
    site: Site,
    cards: Sequence[CardSize],
    weights_bytes: int = 0,
    model_bytes: Mapping[str, int] | None = None,
    vision_weights_bytes: int = 0,
) -> list[BudgetLine]:
    """Phase 2's claims on each card that vLLM or vision uses. Ollama counts on every card that it may use.

    :param weights_bytes: of the text model, for a fixed KV cache; a share of the card includes them. So for the vision model.
    :param model_bytes: size on disk of vision's models by name; one that is missing counts as nothing.
    """
    vllm_cards = vllm_uses(site, cards)[: site.vllm.tensor_parallel_size]
    sees, seeing_cards = site.vllm_vision, vllm_vision_uses(site, cards)[: site.vllm_vision.tensor_parallel_size]
    vision_cards = used_cards(site.ollama.vision.gpus, () if site.vision_on_vllm else site.vllm.gpus, cards)
    vision_bytes = vision_budget(site, model_bytes or {})
    return [
        BudgetLine(
            card,
            DRIVER_BYTES,
            vllm_share(site, card.total_bytes, weights_bytes) if card in vllm_cards else 0,
            vision_bytes if card in vision_cards else 0,
            share_of(sees, card.total_bytes, vision_weights_bytes) if card in seeing_cards else 0,
        )
        for card in cards
        if card in vllm_cards or card in seeing_cards or card in vision_cards
    ]


class NamedCard(Protocol):
    """A card that a setting can name."""

    @property
    def index(self) -> int: ...
    @property
    def uuid(self) -> str: ...


AnyCard = TypeVar("AnyCard", bound=NamedCard)


def used_cards(names: Sequence[str], others: Sequence[str], cards: Sequence[AnyCard]) -> list[AnyCard]:
    """The cards of a setting; without names those that the other setting leaves. The host's resolve-gpus decides alike."""
    if names:
        return [card for name in names for card in cards if name in (card.uuid, str(card.index))]
    return [card for card in cards if not {card.uuid, str(card.index)} & set(others)]


def vllm_uses(site: Site, cards: Sequence[AnyCard]) -> list[AnyCard]:
    """The cards that the vLLM of the text model sees."""
    others = site.vllm_vision.gpus if site.vision_on_vllm else site.ollama.vision.gpus
    return used_cards(site.vllm.gpus, others, cards)


def vllm_vision_uses(site: Site, cards: Sequence[AnyCard]) -> list[AnyCard]:
    """The cards that the vLLM for pictures sees; none where Ollama answers about them."""
    return used_cards(site.vllm_vision.gpus, site.vllm.gpus, cards) if site.vision_on_vllm else []


def vllm_share(site: Site, total_bytes: int, weights_bytes: int) -> int:
    """What the vLLM of the text model takes of one card."""
    return share_of(site.vllm, total_bytes, weights_bytes)


def share_of(server: VllmServer, total_bytes: int, weights_bytes: int) -> int:
    """What a vLLM takes of one card: a fraction of the whole card, or with a fixed KV cache that, the weights and a context."""
    if server.kv_cache_memory is None:
        return int(total_bytes * server.gpu_memory_utilization)
    return size_of(server.kv_cache_memory) + weights_bytes // server.tensor_parallel_size + CONTEXT_BYTES


def vision_budget(site: Site, model_bytes: Mapping[str, int]) -> int:
    """What vision may take of a card: the setting, else an estimate for as many of its largest models as it keeps loaded."""
    vision = site.ollama.vision
    if vision.memory is not None:
        return size_of(vision.memory)
    largest = sorted(model_bytes.values(), reverse=True)[: vision.max_loaded_models]
    context = vision.context_length * vision.num_parallel * TOKEN_BYTES
    return sum(int(size * MODEL_FACTOR) + context + CONTEXT_BYTES for size in largest)
