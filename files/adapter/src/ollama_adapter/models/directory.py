"""What the directory of a model in Hugging Face's layout says about it: size, parameters, architecture, template.

Only small JSON files and the heads of the safetensors files are read. A file that is missing, too large or malformed is
passed over: half of the facts are better than none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

_MAX_TEXT_BYTES = 32 * 1024 * 1024
_MAX_HEAD_BYTES = 64 * 1024 * 1024
_MAX_FILES = 4096
_LICENSES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE")
_MAX_LICENSE_BYTES = 64 * 1024

# Ollama's name of an architecture where it is not Hugging Face's `model_type` without `_` and `_text`.
_FAMILIES = {
    "mistral": "llama", "mixtral": "llama", "deepseek_v2": "deepseek2", "deepseek_v3": "deepseek2",
    "nomic_bert": "nomic-bert", "roberta": "bert", "xlm-roberta": "bert", "qwen2_5_vl": "qwen25vl",
}  # fmt: skip
# Key in `model_info` after `<architecture>.` -> where models keep it in config.json.
_NUMBERS = {
    "attention.head_count": ("num_attention_heads", "n_head"),
    "attention.head_count_kv": ("num_key_value_heads", "num_attention_heads", "n_head"),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon"),
    "block_count": ("num_hidden_layers", "n_layer"),
    "embedding_length": ("hidden_size", "n_embd", "d_model"),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "feed_forward_length": ("intermediate_size", "n_inner"),
    "rope.dimension_count": ("head_dim",),
    "rope.freq_base": ("rope_theta",),
    "vocab_size": ("vocab_size",),
}
_POOLING_TYPES = {"mean": 1, "cls": 2, "lasttoken": 3}  # GGUF's numbers
_DTYPES = {"F64": "F64", "F32": "F32", "F16": "F16", "BF16": "BF16", "F8_E4M3": "FP8", "F8_E5M2": "FP8", "I8": "INT8"}
_METHODS = {
    "fp8": "FP8", "fbgemm_fp8": "FP8", "mxfp4": "MXFP4", "nvfp4": "NVFP4", "modelopt": "FP8", "modelopt_fp4": "NVFP4",
}  # fmt: skip
_BITS = {"I8": 8, "U8": 8, "I16": 16, "I32": 32, "I64": 64}
# Parts of a quantised tensor that are no parameters of the model.
_NO_PARAMETERS = ("scale", "scales", "scale_inv", "qzeros", "g_idx", "zero_point", "weight_shape", "absmax")
_PACKED = ("qweight", "weight_packed", "blocks")
# Tokens around the two halves of a text to fill in: before the first, before the second, before the answer.
_FILL_IN = (
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<fim_prefix>", "<fim_suffix>", "<fim_middle>"),
    ("<|fim_pre|>", "<|fim_suf|>", "<|fim_mid|>"),
    ("<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),  # noqa: RUF001
    ("▁<PRE>", "▁<SUF>", "▁<MID>"),
)


@dataclass(frozen=True)
class DirectoryFacts:
    """What was found. Empty, 0 or None where it was not."""

    family: str = ""
    context_length: int = 0
    parameter_count: int = 0
    quantization: str = ""
    size_bytes: int = 0
    chat_template: str | None = None
    license: str = ""
    has_vision: bool = False
    has_audio: bool = False
    is_pooling: bool = False
    fill_in: tuple[str, str, str] | None = None
    info: Mapping[str, int | float] = field(default_factory=dict)  # the part of `model_info` below the architecture


def read_directory(directory: Path) -> DirectoryFacts | None:
    """Read a model's directory; None where it has no config.json that can be read. Takes its time: not for a loop."""
    config = _object(directory / "config.json")
    if not config:
        return None
    text_config = {**config, **_member(config, "text_config"), **_member(config, "llm_config")}
    tokenizer = _object(directory / "tokenizer_config.json")
    tensors, size = _weights(directory)
    quantization = _quantization(config)
    pooling = pooling_type(_object(directory / "1_Pooling" / "config.json"))
    info = numbers(text_config)
    if pooling:
        info["pooling_type"] = pooling
    return DirectoryFacts(
        family=family(str(text_config.get("model_type") or "")),
        context_length=_integer(text_config, ("max_position_embeddings", "n_positions", "max_sequence_length")),
        parameter_count=parameter_count(tensors, _packed_bits(config)),
        quantization=quantization or _largest_dtype(tensors),
        size_bytes=size,
        chat_template=_chat_template(directory, tokenizer),
        license=next(filter(None, (_text(directory / name, _MAX_LICENSE_BYTES) for name in _LICENSES)), ""),
        has_vision=bool(config.get("vision_config")),
        has_audio=bool(config.get("audio_config")),
        is_pooling=(directory / "modules.json").is_file() or bool(pooling),
        fill_in=fill_in(_token_texts(directory, tokenizer)),
        info=info,
    )


def family(model_type: str) -> str:
    """Ollama's name of an architecture, for Hugging Face's."""
    return _FAMILIES.get(model_type, model_type.removesuffix("_text").replace("_", ""))


def numbers(config: Mapping[str, Any]) -> dict[str, int | float]:
    """The numbers of config.json under the names that GGUF has for them."""
    config = {**config, **_member(config, "rope_parameters")}
    found: dict[str, int | float] = {}
    for key, names in _NUMBERS.items():
        value = next((config[name] for name in names if _is_number(config.get(name))), None)
        if value is not None:
            found[key] = int(value) if float(value).is_integer() else value
    if "rope.dimension_count" not in found and found.get("attention.head_count") and found.get("embedding_length"):
        found["rope.dimension_count"] = int(found["embedding_length"] // found["attention.head_count"])
    return found


def parameter_count(tensors: Mapping[str, tuple[str, int]], packed_bits: int) -> int:
    """How many parameters tensors hold.

    :param tensors: by name, the type of the numbers and how many there are.
    :param packed_bits: of a quantised weight; several share a number on disk.
    """
    count = 0
    for name, (dtype, size) in tensors.items():
        last = name.rpartition(".")[2]
        if last.endswith(_NO_PARAMETERS):
            continue
        is_packed = last.endswith(_PACKED) and dtype in _BITS and packed_bits
        count += size * _BITS[dtype] // packed_bits if is_packed else size
    return count


def fill_in(tokens: Iterable[str]) -> tuple[str, str, str] | None:
    """The tokens for filling a text in, where a tokenizer has all three."""
    known = set(tokens)
    return next((triple for triple in _FILL_IN if known.issuperset(triple)), None)


def pooling_type(config: Mapping[str, Any]) -> int:
    """GGUF's number for the pooling that sentence-transformers' configuration names, 0 for none that is known."""
    for name, number in _POOLING_TYPES.items():
        flags = (f"pooling_mode_{name}", f"pooling_mode_{name}_token", f"pooling_mode_{name}_tokens")
        if config.get("pooling_mode") == name or any(config.get(flag) is True for flag in flags):
            return number
    return 0


def _quantization(config: Mapping[str, Any]) -> str:
    """The name of a quantisation that config.json tells of."""
    settings = _member(config, "quantization_config")
    method = str(settings.get("quant_method") or "").lower()
    if method in _METHODS:
        return _METHODS[method]
    bits = _packed_bits(config)
    if method == "compressed-tensors" and bits == 8 and _weights_of_group(settings).get("type") == "float":
        return "FP8"
    return f"INT{bits}" if bits else ""


def _packed_bits(config: Mapping[str, Any]) -> int:
    settings = _member(config, "quantization_config")
    method = str(settings.get("quant_method") or "").lower()
    if "fp4" in method or settings.get("load_in_4bit"):
        return 4
    bits = settings.get("bits") or settings.get("w_bit") or _weights_of_group(settings).get("num_bits")
    return bits if isinstance(bits, int) and not isinstance(bits, bool) and bits in (2, 3, 4, 8) else 0


def _weights_of_group(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The first group of compressed-tensors."""
    groups = [group for group in _member(settings, "config_groups").values() if isinstance(group, dict)]
    return _member(groups[0], "weights") if groups else {}


def _weights(directory: Path) -> tuple[dict[str, tuple[str, int]], int]:
    """The tensors of the files with weights, and the size of these files."""
    tensors: dict[str, tuple[str, int]] = {}
    size = 0
    for path in _weight_files(directory):
        try:
            size += path.stat().st_size
            if path.suffix == ".safetensors":
                tensors.update(_tensors(path))
        except OSError:
            continue
    return tensors, size


def _weight_files(directory: Path) -> list[Path]:
    index = _member(_object(directory / "model.safetensors.index.json"), "weight_map")
    if index:  # beside these files there may be the same weights once more, in another layout
        names = sorted({name for name in index.values() if isinstance(name, str) and "/" not in name})
        return [directory / name for name in names[:_MAX_FILES]]
    if (directory / "model.safetensors").is_file():
        return [directory / "model.safetensors"]
    for pattern in ("*.safetensors", "*.bin", "*.pt"):
        found = sorted(directory.glob(pattern))[:_MAX_FILES]
        if found:
            return found
    return []


def _tensors(path: Path) -> Iterator[tuple[str, tuple[str, int]]]:
    """Names, types and sizes from the head of a safetensors file: its length in 8 bytes, then JSON."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _MAX_HEAD_BYTES:
            return
        head = _decoded(file.read(length))
    for name, entry in head.items():
        shape = entry.get("shape") if isinstance(entry, dict) and name != "__metadata__" else None
        if isinstance(shape, list) and all(isinstance(length, int) for length in shape):
            size = 1
            for side in shape:
                size *= side
            yield name, (str(entry.get("dtype")), size)


def _largest_dtype(tensors: Mapping[str, tuple[str, int]]) -> str:
    sizes: dict[str, int] = {}
    for dtype, size in tensors.values():
        sizes[dtype] = sizes.get(dtype, 0) + size
    return _DTYPES.get(max(sizes, key=lambda dtype: sizes[dtype]), "") if sizes else ""


def _chat_template(directory: Path, tokenizer: Mapping[str, Any]) -> str | None:
    """The template, "" where the model has none."""
    template = _text(directory / "chat_template.jinja", _MAX_TEXT_BYTES) or tokenizer.get("chat_template")
    if template is None:
        template = _object(directory / "chat_template.json").get("chat_template")
    if isinstance(template, list):  # several, with names
        named = {entry.get("name"): entry.get("template") for entry in template if isinstance(entry, dict)}
        template = "\n".join(str(named[name]) for name in ("default", "tool_use") if named.get(name))
    return template if isinstance(template, str) else ""


def _token_texts(directory: Path, tokenizer: Mapping[str, Any]) -> Iterator[str]:
    for entry in _member(tokenizer, "added_tokens_decoder").values():
        if isinstance(entry, dict):
            yield str(entry.get("content"))
    added = _object(directory / "tokenizer.json").get("added_tokens")
    for entry in added if isinstance(added, list) else ():
        if isinstance(entry, dict):
            yield str(entry.get("content"))


def _integer(config: Mapping[str, Any], names: Iterable[str]) -> int:
    return next((int(config[name]) for name in names if _is_number(config.get(name)) and config[name] > 0), 0)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _member(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    member = value.get(name)
    return member if isinstance(member, dict) else {}


def _object(path: Path) -> dict[str, Any]:
    return _decoded(_text(path, _MAX_TEXT_BYTES).encode())


def _decoded(text: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


def _text(path: Path, limit: int) -> str:
    try:
        if os.path.getsize(path) > limit:
            return ""
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return ""
