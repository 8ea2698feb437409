"""Models as the hub tells them: the part of config.json that decides about memory, and the bytes of the safetensors together.

Sizes are parameters times two bytes, from the published shapes; the hub's own index of meta-llama/Llama-2-7b-hf says 4096 bytes
more (rotary tables). Llama 2 70B in AWQ has 4 bits for each linear weight, a scale of 16 bits and a zero of 4 for each 128 of
them, and whole embeddings.
"""

from __future__ import annotations

from typing import Any

Model = tuple[dict[str, Any], int]


def llama(hidden: int, intermediate: int, layers: int, heads: int, kv_heads: int, **more: Any) -> dict[str, Any]:
    """A config.json of the family; `more` over it."""
    return {
        "model_type": "llama", "hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "vocab_size": 32000,
        "max_position_embeddings": 4096, "torch_dtype": "float16", "tie_word_embeddings": False, "rope_scaling": None,
    } | more  # fmt: skip


def linear_weights(config: dict[str, Any]) -> int:
    """Numbers in the matrices of all layers: query and output, key and value, and three of the feed-forward part."""
    hidden, intermediate = config["hidden_size"], config["intermediate_size"]
    kept = hidden * config["num_key_value_heads"] // config["num_attention_heads"]
    return int(config["num_hidden_layers"] * (2 * hidden**2 + 2 * hidden * kept + 3 * hidden * intermediate))


def other_weights(config: dict[str, Any]) -> int:
    """Numbers in embeddings, head and norms."""
    return int(
        2 * config["vocab_size"] * config["hidden_size"] + (2 * config["num_hidden_layers"] + 1) * config["hidden_size"]
    )


def whole(config: dict[str, Any]) -> Model:
    """16 bits for every number."""
    return config, 2 * (linear_weights(config) + other_weights(config))


def awq(config: dict[str, Any]) -> Model:
    """The same in 4 bits with groups of 128."""
    quantised = config | {
        "quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 128, "version": "gemm"}
    }
    bits = linear_weights(config) * (4 * 128 + 16 + 4) // 128
    return quantised, bits // 8 + 2 * other_weights(config)


LLAMA_2_7B = whole(llama(4096, 11008, 32, 32, 32))
LLAMA_2_13B = whole(llama(5120, 13824, 40, 40, 40))
LLAMA_2_70B_AWQ = awq(llama(8192, 28672, 80, 64, 8))
# A model with longer context and shared heads; numbers of its published config.json.
LLAMA_3_8B = whole(
    llama(4096, 14336, 32, 32, 8, vocab_size=128256, max_position_embeddings=8192, torch_dtype="bfloat16")
)
