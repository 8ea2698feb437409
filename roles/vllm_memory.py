"""Does a model fit on a card, and with how much context: vLLM's own sum, made before it starts. Pure.

vLLM takes `gpu_memory_utilization` of the whole card, and what weights, activations and CUDA graphs leave of that is its KV cache;
it refuses to start when the cache cannot hold one request of `max_model_len` (vLLM 0.33.0, v1/worker/gpu_worker.py and
v1/core/kv_cache_utils.py). Weights and KV cache are exact here. The rest vLLM measures on the card; here it is an estimate.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from roles.gpus import DRIVER_BYTES, MIB, size_of
from roles.quantization import ONLINE
from roles.vllm_model import DTYPE_BYTES, ModelShape

if TYPE_CHECKING:
    from roles.site import Site

GIB = 1 << 30
BLOCK_TOKENS = 16  # vLLM hands the cache out in blocks of so many tokens
# Context, libraries and workspaces of one process, and the buffers between cards where several share a model. Logs of vLLM show
# 0.2 GiB (#14447) to 1.8 GiB, and twice that for two cards (#10511); nobody has measured them for this project.
PROCESS_BYTES, PARALLEL_BYTES = GIB, GIB
# Captured graphs: 0.5 to 0.65 GiB for 32 layers in logs of vLLM; they grow with the layers.
GRAPH_BYTES_PER_LAYER = 16 * MIB
# One logit with its copies while a token is sampled: 16 and 32 bits, probability, sorted value and its 64-bit index.
SAMPLING_BYTES = 2 + 4 + 4 + 4 + 8


@dataclass(frozen=True)
class Demand:
    """How the model is to be served; the settings of key `vllm` that decide about memory. `kv_cache_bytes`: a fixed cache."""

    max_model_len: int = 4096
    fraction: float = 0.9
    cards: int = 1
    dtype: str = "auto"
    kv_cache_dtype: str = "auto"
    quantization: str | None = None
    kv_cache_bytes: int | None = None
    enforce_eager: bool = False


@dataclass(frozen=True)
class CardMemory:
    """One of the cards that serve it, as the driver reports it. `taken_bytes`: what others hold or will hold of it."""

    name: str
    total_bytes: int
    taken_bytes: int = 0

    @property
    def usable_bytes(self) -> int:
        """What a program sees of it; vLLM's fraction is of this."""
        return self.total_bytes - DRIVER_BYTES


@dataclass(frozen=True)
class Estimate:
    """The sum for one card, in bytes. `kv_bytes` is what is left for the KV cache; below zero the model itself is too large.

    request_bytes: the KV cache of one request of `max_model_len`. block_bytes: the one block that vLLM keeps back for itself.
    """

    card: CardMemory
    demand: Demand
    budget_bytes: int
    weights_bytes: int
    other_bytes: int
    request_bytes: int
    block_bytes: int

    @property
    def kv_bytes(self) -> int:
        if self.demand.kv_cache_bytes is not None:
            return self.demand.kv_cache_bytes
        return self.budget_bytes - self.weights_bytes - self.other_bytes

    @property
    def needed_bytes(self) -> int:
        """The least that serves one request of `max_model_len`; with a fixed cache that cache."""
        kv = self.request_bytes + self.block_bytes if self.demand.kv_cache_bytes is None else self.demand.kv_cache_bytes
        return self.weights_bytes + self.other_bytes + kv

    @property
    def cache_bytes(self) -> int:
        """What requests get of the KV cache."""
        return self.kv_bytes - self.block_bytes

    @property
    def free_bytes(self) -> int:
        return self.card.usable_bytes - self.card.taken_bytes

    @property
    def fits(self) -> bool:
        """Whether vLLM would start: the cache holds one request, and the card has what vLLM asks for."""
        return self.cache_bytes >= self.request_bytes and max(self.needed_bytes, self.budget_bytes) <= self.free_bytes

    @property
    def cannot_fit(self) -> bool:
        """Whether it would not even without what is only estimated: weights and one request are too much."""
        room = self.free_bytes if self.demand.kv_cache_bytes is not None else min(self.budget_bytes, self.free_bytes)
        return self.needed_bytes - self.other_bytes > room or self.lacks_cache

    @property
    def lacks_cache(self) -> bool:
        """Whether a cache of fixed size is too small for one request."""
        return self.demand.kv_cache_bytes is not None and self.cache_bytes < self.request_bytes

    @property
    def requests(self) -> float:
        """How many requests of `max_model_len` the cache holds at once."""
        return max(0.0, self.cache_bytes / self.request_bytes)

    @property
    def room_tokens(self) -> int:
        """What the cache holds of requests of that length, in tokens."""
        return int(self.requests * self.demand.max_model_len)

    def __str__(self) -> str:
        parts = f"weights {gib(self.weights_bytes)} + about {gib(self.other_bytes)} for computing"
        if self.demand.kv_cache_bytes is not None:
            share = f"{gib(self.free_bytes)} GiB that are free"
        else:
            share = f"{gib(self.budget_bytes)} GiB ({self.demand.fraction} of {gib(self.card.usable_bytes)})"
        if self.kv_bytes > 0:
            return f"{parts} + KV cache {gib(self.kv_bytes)} of {share}"
        return f"{parts} of {share}: nothing is left for the KV cache"


def gib(size: int) -> str:
    """Bytes for people, in GiB without the unit."""
    return f"{size / GIB:.1f}"


def demand_of(site: Site) -> Demand:
    """What the settings ask of each card."""
    settings = site.vllm
    fixed = settings.kv_cache_memory
    return Demand(
        max_model_len=settings.max_model_len,
        fraction=settings.gpu_memory_utilization,
        cards=settings.tensor_parallel_size,
        dtype=settings.dtype,
        kv_cache_dtype=settings.kv_cache_dtype,
        quantization=settings.quantization,
        kv_cache_bytes=None if fixed is None else size_of(fixed),
        enforce_eager=settings.enforce_eager,
    )


def estimate(shape: ModelShape, demand: Demand, card: CardMemory) -> Estimate:
    """The sum for one card of those that share the model."""
    request = request_bytes(shape, demand, card, demand.max_model_len)
    budget = 0 if demand.kv_cache_bytes is not None else math.ceil(card.usable_bytes * demand.fraction)
    return Estimate(
        card=card,
        demand=demand,
        budget_bytes=budget,
        weights_bytes=loaded_bytes(shape, demand) // demand.cards,
        other_bytes=other_bytes(shape, demand, card),
        request_bytes=request,
        block_bytes=layer_bytes(shape, demand) * shape.layers * BLOCK_TOKENS,
    )


def largest_context(shape: ModelShape, demand: Demand, card: CardMemory) -> int:
    """The largest `max_model_len` that fits, in whole blocks and not above what the model was made for; 0: not even one block."""
    room = estimate(shape, demand, card)
    if max(room.budget_bytes, room.needed_bytes if demand.kv_cache_bytes is not None else 0) > room.free_bytes:
        return 0
    kv = room.cache_bytes
    low, high = 0, (shape.longest or 10_000_000) // BLOCK_TOKENS
    while low < high:
        middle = (low + high + 1) // 2
        if request_bytes(shape, demand, card, middle * BLOCK_TOKENS) <= kv:
            low = middle
        else:
            high = middle - 1
    return low * BLOCK_TOKENS


def largest_cache(shape: ModelShape, demand: Demand, card: CardMemory) -> int | None:
    """The largest fixed KV cache in bytes that the free memory has room for; None where it would not hold one request."""
    found = estimate(shape, demand, card)
    room = found.free_bytes - found.weights_bytes - found.other_bytes
    return room if room >= found.request_bytes + found.block_bytes else None


def smallest_fraction(shape: ModelShape, demand: Demand, card: CardMemory) -> float | None:
    """The smallest `gpu_memory_utilization` that serves one request of `max_model_len`; None where the free memory is less."""
    least = estimate(shape, replace(demand, kv_cache_bytes=None), card)
    fraction = math.ceil(100 * least.needed_bytes / card.usable_bytes) / 100
    return fraction if fraction <= largest_fraction(card) else None


def largest_fraction(card: CardMemory) -> float:
    """The largest `gpu_memory_utilization` that others leave of the card; vLLM refuses to start with more."""
    return max(0, math.floor(100 * (card.usable_bytes - card.taken_bytes) / card.usable_bytes)) / 100


def safe_values(shape: ModelShape, demand: Demand, card: CardMemory) -> tuple[float, int] | None:
    """A fraction and a context that start on this card as it is now, nearest to what is asked; None where no context does.

    The fraction is lowered to what others leave, the context only as far as it must be; a fraction is never raised.
    """
    fraction = min(demand.fraction, largest_fraction(card))
    context = largest_context(shape, replace(demand, fraction=fraction), card) if fraction else 0
    return (fraction, min(context, demand.max_model_len)) if context else None


def fewest_cards(shape: ModelShape, demand: Demand, card: CardMemory) -> int | None:
    """How many such cards, 2, 4 or 8, would serve it together; None where eight do not, or its heads cannot be split so."""
    for cards in (2, 4, 8):
        if (
            cards > demand.cards
            and shape.heads % cards == 0
            and estimate(shape, replace(demand, cards=cards), card).fits
        ):
            return cards
    return None


def loaded_bytes(shape: ModelShape, demand: Demand) -> int:
    """The weights in memory: as on disk, unless they are loaded as another type or made smaller on the way."""
    if shape.quantization is not None:
        return shape.weights_bytes
    stored = DTYPE_BYTES.get(shape.dtype, 2)
    served = computing_bytes(shape, demand)
    numbers = shape.weights_bytes // stored
    if demand.quantization not in ONLINE:
        return numbers * served
    embeddings = shape.vocabulary * shape.hidden * (1 if shape.tied_embeddings else 2)
    return (numbers - embeddings) + embeddings * served


def computing_bytes(shape: ModelShape, demand: Demand) -> int:
    """Bytes of one number while it computes; `auto` never takes 32 bits."""
    return min(2, DTYPE_BYTES.get(shape.dtype, 2)) if demand.dtype == "auto" else DTYPE_BYTES[demand.dtype]


def layer_bytes(shape: ModelShape, demand: Demand) -> int:
    """What one layer keeps of one token on each card. A card has whole heads: with more cards than heads some keep the same."""
    auto = demand.kv_cache_dtype == "auto"
    number = computing_bytes(shape, demand) if auto else DTYPE_BYTES.get(demand.kv_cache_dtype, 2)
    if shape.is_latent:
        return shape.head_size * number
    return 2 * math.ceil(shape.kv_heads / demand.cards) * shape.head_size * number


def request_bytes(shape: ModelShape, demand: Demand, card: CardMemory, tokens: int) -> int:
    """The KV cache of one request with so many tokens. A layer with a window keeps that, and the batch that is being computed."""
    window = min(tokens, shape.window - 1 + batch_tokens(card))
    kept = shape.full_layers * _whole_blocks(tokens)
    if shape.window_layers:
        kept += shape.window_layers * min(_whole_blocks(tokens), _whole_blocks(window) + BLOCK_TOKENS)
    return kept * layer_bytes(shape, demand)


def other_bytes(shape: ModelShape, demand: Demand, card: CardMemory) -> int:
    """What vLLM needs besides weights and KV cache, as an estimate: its process, one batch being computed, the graphs.

    The sum of the widest layer and of sampling, although they come one after the other: for Llama 3 8B with 8192 tokens and 256
    requests that is 1.5 GiB, where vLLM's own log says 1.26 (#10511).
    """
    number = computing_bytes(shape, demand)
    wide = batch_tokens(card) * (3 * math.ceil(shape.intermediate / demand.cards) + 3 * shape.hidden) * number
    sampling = batch_requests(card) * shape.vocabulary * SAMPLING_BYTES
    graphs = 0 if demand.enforce_eager else shape.layers * GRAPH_BYTES_PER_LAYER
    return PROCESS_BYTES + (PARALLEL_BYTES if demand.cards > 1 else 0) + wide + sampling + graphs


def batch_tokens(card: CardMemory) -> int:
    """vLLM's default for tokens in one step (0.33.0, EngineArgs.get_batch_defaults): by the card's size, and A100 apart."""
    if card.usable_bytes >= 160 * GIB:
        return 16384
    return 8192 if _is_large(card) else 2048


def batch_requests(card: CardMemory) -> int:
    """vLLM's default for requests in one step, from the same place."""
    return 1024 if _is_large(card) else 256


def _is_large(card: CardMemory) -> bool:
    slower = any(name in card.name.lower() for name in ("a100", "gb10"))
    return card.usable_bytes >= 160 * GIB or (card.usable_bytes >= 70 * GIB and not slower)


def _whole_blocks(tokens: int) -> int:
    return math.ceil(tokens / BLOCK_TOKENS) * BLOCK_TOKENS
