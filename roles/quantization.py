"""Quantised models: the methods that the pinned vLLM has, what they need of a card, and whether they agree with a model. Pure.

Sources: vLLM 0.33.0, model_executor/layers/quantization (`get_min_capability`, `get_supported_act_dtypes`, the list of methods) and
config/model.py (`_verify_quantization`); docs.vllm.ai, "Quantization", supported hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Method = Literal[
    "awq", "gptq", "compressed-tensors", "fp8", "modelopt", "modelopt_fp4", "mxfp4", "torchao",
    "fp8_per_tensor", "fp8_per_block", "fp8_per_channel",
]  # fmt: skip
KvCacheDtype = Literal["auto", "fp8", "fp8_e4m3", "fp8_e5m2"]

# These make a smaller model of a whole one while vLLM loads it, layer by layer: the whole one never has to fit on the card
# (online/fp8.py, `uses_meta_device`). All others need a model that was stored so.
ONLINE = frozenset({"fp8_per_tensor", "fp8_per_block", "fp8_per_channel"})
HALF = frozenset({"auto", "half", "float16", "bfloat16"})
BRAIN = frozenset({"auto", "bfloat16"})
ANY = HALF | {"float", "float32"}


@dataclass(frozen=True)
class Needs:
    """The lowest compute capability of a card, and the values of `vllm.dtype` that go with it."""

    capability: float
    dtypes: frozenset[str]


NEEDS: dict[str, Needs] = {
    "awq": Needs(7.5, HALF),
    "gptq": Needs(6.0, HALF),
    "compressed-tensors": Needs(7.0, ANY),
    "fp8": Needs(7.5, HALF),
    "modelopt": Needs(8.0, HALF),
    "modelopt_fp4": Needs(7.5, HALF),
    "mxfp4": Needs(8.0, BRAIN),
    "torchao": Needs(7.5, ANY),
    **dict.fromkeys(ONLINE, Needs(7.5, HALF)),
}
# Other names that a model's config.json may give and this vLLM reads. What is in neither list it does not know, as bitsandbytes.
FURTHER = frozenset({"quark", "inc", "auto-round", "moe_wna16", "experts_int8", "deepseek_v4_fp8", "humming", "mxfp8"})
# Below this a card multiplies no 8-bit floats: vLLM keeps the weights so and computes with 16 bits (Marlin): small, but not faster.
FP8_FLOOR = 8.9
FP8_METHODS = ONLINE | {"fp8", "modelopt"}
# The KV cache in 8-bit floats: FlashInfer from Ampere on, FlashAttention 3 on Hopper, Triton from 8.9 on.
FP8_CACHE_FLOOR = 8.0


def method_of(setting: str | None, stored: str | None) -> str | None:
    """The method that vLLM will use: the setting, else the one that the model was stored with."""
    return setting or stored


def disagreement(setting: str | None, stored: str | None) -> str | None:
    """Why vLLM would refuse this setting for a model that is stored so; None where they agree.

    :param stored: `quant_method` of the model's config.json, None where it has none.
    """
    if stored is None:
        if setting is None or setting in ONLINE:
            return None
        return f"the model is not stored as {setting}: its config.json has no quantization_config"
    if setting in (None, stored) or (setting == "modelopt_fp4" and stored == "modelopt"):
        return None
    return f"the model is stored as {stored}, says its config.json"
