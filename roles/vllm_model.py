"""A model's measures as its config.json and its files tell them: what vllm_memory.py calculates with. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Bytes of one number, by the names that config.json, `vllm.dtype` and `vllm.kv_cache_dtype` use.
DTYPE_BYTES = {
    "float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2,
    "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1,
}  # fmt: skip


class UnknownModel(ValueError):
    """config.json does not say, or not in a way known here, how much this model keeps of each token."""


@dataclass(frozen=True)
class ModelShape:
    """The measures of one model. Sizes in numbers of elements, `weights_bytes` as the files on disk have them.

    heads: of attention; the cards that share a model share them evenly.
    full_layers, window_layers: layers that keep every token, and those that keep the last `window` tokens only.
    kv_heads, head_size: 1 and the size of the latent vector where attention is latent (MLA), which no card can split.
    intermediate: the widest layer between the blocks; for a mixture of experts what one token passes through.
    longest: the context the model was made for; 0 where config.json does not say.
    quantization: the method in its `quantization_config`; None for whole numbers of `dtype`.
    """

    weights_bytes: int
    dtype: str
    heads: int
    full_layers: int
    window_layers: int
    window: int
    kv_heads: int
    head_size: int
    is_latent: bool
    hidden: int
    intermediate: int
    vocabulary: int
    tied_embeddings: bool
    longest: int
    quantization: str | None

    @property
    def layers(self) -> int:
        return self.full_layers + self.window_layers


def shape_of(config: Mapping[str, Any], weights_bytes: int) -> ModelShape:
    """The measures of the model that this config.json describes.

    :param weights_bytes: of its weight files together; not in config.json.
    :raises UnknownModel: where a measure is missing, or a kind of layer is not attention.
    """
    if weights_bytes <= 0:
        raise UnknownModel("nobody says how large the weights are")
    text = {**config, **(config.get("text_config") or {})}  # models that also see keep their text part apart
    hidden, heads, layers = (_count(text, key) for key in ("hidden_size", "num_attention_heads", "num_hidden_layers"))
    latent = text.get("kv_lora_rank")
    window_layers, window = _windows(text, layers)
    return ModelShape(
        weights_bytes=weights_bytes,
        dtype=str(text.get("dtype") or text.get("torch_dtype") or "float16").removeprefix("torch."),
        heads=heads,
        full_layers=layers - window_layers,
        window_layers=window_layers,
        window=window,
        kv_heads=1 if latent else int(text.get("num_key_value_heads") or heads),
        head_size=int(latent) + _count(text, "qk_rope_head_dim")
        if latent
        else int(text.get("head_dim") or hidden // heads),
        is_latent=bool(latent),
        hidden=hidden,
        intermediate=_widest(text, hidden),
        vocabulary=_count(text, "vocab_size"),
        tied_embeddings=bool(text.get("tie_word_embeddings", False)),
        longest=_longest(text),
        quantization=quantization_of(config),
    )


def quantization_of(config: Mapping[str, Any]) -> str | None:
    """The quantization method that config.json names; None where the weights are whole numbers."""
    said = config.get("quantization_config") or config.get("compression_config") or {}
    return str(said["quant_method"]).lower() if said.get("quant_method") else None


def weights_in(files: Mapping[str, int]) -> int:
    """Bytes of the weights that vLLM loads of a repository: safetensors where there are any, in its top folder, each tensor once.

    :param files: size by path. A repository may have the same tensors again as `consolidated*`, for another program.
    """
    top = {name: size for name, size in files.items() if "/" not in name and not name.startswith("adapter_")}
    kinds = (
        [name for name in top if name.endswith(".safetensors") and not name.startswith("consolidated")],
        [name for name in top if name.endswith(".safetensors")],
        [
            name
            for name in top
            if name.endswith((".bin", ".pt")) and name.startswith(("pytorch_model", "model", "consolidated"))
        ],
    )
    return sum(top[name] for name in next((names for names in kinds if names), []))


def _count(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or value <= 0:
        raise UnknownModel(f"its config.json has no {key}")
    return value


def _windows(config: Mapping[str, Any], layers: int) -> tuple[int, int]:
    """How many layers look at a sliding window only, and its width in tokens."""
    window = config.get("sliding_window")
    kinds = config.get("layer_types")
    others = sorted(set(kinds or ()) - {"full_attention", "sliding_attention"})
    if others:
        raise UnknownModel(f"it has layers of another kind than attention ({', '.join(others)})")
    if not window or config.get("use_sliding_window") is False:
        return 0, 0
    if kinds:
        return kinds.count("sliding_attention"), int(window)
    pattern = config.get("sliding_window_pattern")  # of so many layers the last one sees everything
    return (layers - layers // int(pattern) if pattern else layers), int(window)


def _widest(config: Mapping[str, Any], hidden: int) -> int:
    per_expert = config.get("moe_intermediate_size")
    if per_expert:
        return int(per_expert) * int(config.get("num_experts_per_tok") or 1)
    active = int(config.get("num_experts_per_tok") or 1) if config.get("num_local_experts") else 1
    return int(config.get("intermediate_size") or 4 * hidden) * active


def _longest(config: Mapping[str, Any]) -> int:
    """As vLLM derives it; 0 where rotary scaling stretches it in a way that only vLLM works out."""
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    kind = scaling.get("rope_type") or scaling.get("type") or "default"
    return int(config.get("max_position_embeddings") or 0) if kind in ("default", "llama3") else 0
