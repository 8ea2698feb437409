# mypy: disable-error-code="import-not-found"
# numpy, safetensors and tokenizers live in an environment of their own (lab.mirror.store), not beside the linters.
"""The tensors of the lab model, and its greedy answer computed from them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lab.model.vocabulary import EOS, Vocabulary

Array: TypeAlias = NDArray[np.float32]

HIDDEN = 384
INTERMEDIATE = 64
HEADS = 6
CONTEXT = 2048
NORM_EPS = 1e-5
SEED = 7


def weights(vocabulary: Vocabulary, *, head: bool) -> dict[str, Array]:
    """All tensors of the checkpoint; without `head`, those of the bare body under the names a bare body has."""
    rng = np.random.default_rng(SEED)
    rows = np.linalg.qr(rng.standard_normal((HIDDEN, HIDDEN)))[0][: len(vocabulary)].astype(np.float32)
    embedding = rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def noise(*shape: int) -> Array:
        drawn: Array = (rng.standard_normal(shape) * 0.02).astype(np.float32)
        return drawn

    ones, zeros, f32 = np.ones, np.zeros, np.float32
    layer = "layers.0."
    body: dict[str, Array] = {
        "embed_tokens.weight": embedding,
        "norm.weight": ones(HIDDEN, f32),
        layer + "input_layernorm.weight": ones(HIDDEN, f32),
        layer + "post_attention_layernorm.weight": ones(HIDDEN, f32),
        layer + "self_attn.q_proj.weight": noise(HIDDEN, HIDDEN),
        layer + "self_attn.k_proj.weight": noise(HIDDEN, HIDDEN),
        layer + "self_attn.v_proj.weight": noise(HIDDEN, HIDDEN),
        layer + "self_attn.o_proj.weight": zeros((HIDDEN, HIDDEN), f32),
        layer + "mlp.gate_proj.weight": noise(INTERMEDIATE, HIDDEN),
        layer + "mlp.up_proj.weight": noise(INTERMEDIATE, HIDDEN),
        layer + "mlp.down_proj.weight": zeros((HIDDEN, INTERMEDIATE), f32),
    }
    if not head:
        return body
    lm_head = np.zeros_like(embedding)
    for token, successors in vocabulary.transitions().items():
        for successor, weight in successors:
            lm_head[successor] += f32(weight) * embedding[token]
    return {f"model.{name}": tensor for name, tensor in body.items()} | {"lm_head.weight": lm_head}


def answer(vocabulary: Vocabulary, tensors: dict[str, Array], prompt_end: str) -> tuple[list[str], float]:
    """The greedy continuation after one token, and its smallest margin to the second choice in nats."""
    hidden = tensors["model.embed_tokens.weight"]
    scale = 1 / np.sqrt(np.mean(hidden**2, axis=1, keepdims=True) + NORM_EPS)
    logits = (hidden * scale) @ tensors["lm_head.weight"].T
    pieces: list[str] = []
    margin, token = float("inf"), vocabulary.id(prompt_end)
    while token != vocabulary.id(EOS):
        second, first = np.partition(logits[token], -2)[-2:]
        margin, token = min(margin, float(first - second)), int(logits[token].argmax())
        pieces.append(vocabulary.pieces[token])
    return pieces[:-1], margin
