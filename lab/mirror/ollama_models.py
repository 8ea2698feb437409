"""Models for the lab's Ollama registry: true names, layers and media types, a few megabytes of noise as weights."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.mirror import cache

LAYER = "application/vnd.ollama.image."
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
WEIGHTS_BYTES = 3_000_000
LLAMA2_TEMPLATE = "[INST] <<SYS>>{{ .System }}<</SYS>>\n\n{{ .Prompt }} [/INST]\n"
LLAMA3_TEMPLATE = "{{- if .Tools }}{{ .Tools }}{{ end }}{{ range .Messages }}{{ .Role }}: {{ .Content }}\n{{ end }}"
LLAVA_TEMPLATE = "{{ .System }}\nUSER: {{ .Prompt }}\nASSISTANT: "


@dataclass(frozen=True)
class LabModel:
    """What distinguishes one model; the figures are those of the real one."""

    name: str
    tag: str
    architecture: str
    families: tuple[str, ...]
    size: str
    quantisation: str
    context_length: int
    embedding_length: int
    template: str
    parameters: Mapping[str, object]
    has_projector: bool = False
    is_embedding: bool = False


MODELS = (
    LabModel("llava", "7b", "llama", ("llama", "clip"), "7B", "Q4_0", 32768, 4096, LLAVA_TEMPLATE,
             {"stop": ["[INST]", "[/INST]"]}, has_projector=True),
    LabModel("nomic-embed-text", "latest", "nomic-bert", ("nomic-bert",), "137M", "F16", 2048, 768, "{{ .Prompt }}",
             {"num_ctx": 8192}, is_embedding=True),
    LabModel("llama3.2", "latest", "llama", ("llama",), "3.2B", "Q4_K_M", 131072, 3072, LLAMA3_TEMPLATE,
             {"stop": ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]}),
    LabModel("llama2", "7b", "llama", ("llama",), "7B", "Q4_0", 4096, 4096, LLAMA2_TEMPLATE,
             {"stop": ["[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"]}),
)  # fmt: skip


def ensure(root: Path) -> Path:
    """The folder behind the registry, laid out as `ollama_registry.OllamaRegistry` reads it."""
    return cache.build_once(root / f"ollama-models-{cache.key_of(Path(__file__))}", partial(write, MODELS))


def write(models: tuple[LabModel, ...], target: Path, weights_bytes: int = WEIGHTS_BYTES) -> None:
    """Write manifests and blobs; the same bytes on every run."""
    (target / "blobs").mkdir(parents=True)
    for model in models:
        layers = [_layer(target, LAYER + "model", gguf(model, weights_bytes))]
        if model.has_projector:
            layers.append(_layer(target, LAYER + "projector", _noise(f"{model.name} projector", weights_bytes // 4)))
        licence = f"A stand-in of the lab for {model.name}:{model.tag}; it contains nothing of the real model.\n"
        layers.append(_layer(target, LAYER + "license", licence.encode()))
        layers.append(_layer(target, LAYER + "template", model.template.encode()))
        layers.append(_layer(target, LAYER + "params", json.dumps(model.parameters).encode()))
        config = {
            "model_format": "gguf",
            "model_family": model.architecture,
            "model_families": list(model.families),
            "model_type": model.size,
            "file_type": model.quantisation,
            "architecture": "amd64",
            "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"] for layer in layers]},
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": _layer(target, CONFIG_TYPE, json.dumps(config).encode()),
            "layers": layers,
        }
        path = target / "manifests" / "library" / model.name / model.tag
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(manifest))


def _layer(target: Path, media_type: str, content: bytes) -> dict[str, object]:
    digest = hashlib.sha256(content).hexdigest()
    (target / "blobs" / f"sha256-{digest}").write_bytes(content)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _noise(seed: str, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def gguf(model: LabModel, size: int) -> bytes:
    """A GGUF file without tensors: a true key-value head, then noise up to about `size` bytes."""
    pairs: dict[str, str | int] = {
        "general.architecture": model.architecture,
        "general.name": f"{model.name} (stand-in)",
        "general.parameter_count": 1_000_000,
        f"{model.architecture}.context_length": model.context_length,
        f"{model.architecture}.embedding_length": model.embedding_length,
        f"{model.architecture}.block_count": 1,
        **({f"{model.architecture}.pooling_type": 1} if model.is_embedding else {}),
    }
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    for key, value in pairs.items():
        head += _string(key)
        head += struct.pack("<I", 8) + _string(value) if isinstance(value, str) else struct.pack("<II", 4, value)
    return head + _noise(f"{model.name}:{model.tag}", max(0, size - len(head)))


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data
