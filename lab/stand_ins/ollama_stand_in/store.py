"""Models on disk, laid out as Ollama does: `manifests/HOST/NAMESPACE/MODEL/TAG` and `blobs/sha256-HEX`."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from . import gguf
from .names import Name
from .settings import UTC

LAYER = "application/vnd.ollama.image."


@dataclass(frozen=True)
class Model:
    """One manifest and what its layers say."""

    name: Name
    store: Store
    manifest_bytes: bytes
    modified: datetime

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The manifest as JSON."""
        content: dict[str, Any] = json.loads(self.manifest_bytes)
        return content

    @property
    def digest(self) -> str:
        """64 hex digits without a prefix, as listings show it."""
        return hashlib.sha256(self.manifest_bytes).hexdigest()

    @property
    def size_bytes(self) -> int:
        """Layers and configuration together."""
        return sum(layer["size"] for layer in [self.manifest["config"], *self.manifest["layers"]])

    def layer(self, kind: str) -> str:
        """A text layer such as `template`, `system`, `params`, `license`; empty if the model has none."""
        for layer in self.manifest["layers"]:
            if layer["mediaType"] == LAYER + kind:
                return self.store.blob(layer["digest"]).read_text(encoding="utf-8", errors="replace")
        return ""

    def has(self, kind: str) -> bool:
        """Is there a layer of this kind?"""
        return any(layer["mediaType"] == LAYER + kind for layer in self.manifest["layers"])

    @property
    def weights(self) -> Path:
        """The blob of the model layer."""
        digest = next(layer["digest"] for layer in self.manifest["layers"] if layer["mediaType"] == LAYER + "model")
        return self.store.blob(digest)

    @cached_property
    def info(self) -> dict[str, object]:
        """What the GGUF file says about itself."""
        return gguf.read(self.weights)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The configuration blob."""
        content: dict[str, Any] = json.loads(self.store.blob(self.manifest["config"]["digest"]).read_bytes())
        return content

    def number(self, key: str) -> int:
        """`context_length` and the like of this model's architecture; 0 if unknown."""
        value = self.info.get(f"{self.info.get('general.architecture')}.{key}", 0)
        return int(value) if isinstance(value, int) else 0

    @property
    def capabilities(self) -> list[str]:
        """As Ollama derives them: from pooling, projector, and what the template mentions."""
        if self.number("pooling_type"):
            return ["embedding"]
        template = self.layer("template")
        found = {"tools": ".Tools" in template, "insert": ".Suffix" in template, "vision": self.has("projector")}
        return ["completion", *(name for name, is_there in found.items() if is_there)]

    def details(self, *, lengths: bool) -> dict[str, object]:
        """ModelDetails of the API; lengths are listed by tags only."""
        config = self.config
        details: dict[str, object] = {
            "parent_model": "",
            "format": config["model_format"],
            "family": config["model_family"],
            "families": config["model_families"],
            "parameter_size": config["model_type"],
            "quantization_level": config["file_type"],
        }
        if lengths:
            known = {name: self.number(name) for name in ("context_length", "embedding_length")}
            details |= {name: value for name, value in known.items() if value}
        return details


@dataclass(frozen=True)
class Store:
    """The folder that OLLAMA_MODELS names."""

    root: Path

    def blob(self, digest: str) -> Path:
        """Where the blob `sha256:HEX` lies, present or not."""
        return self.root / "blobs" / digest.replace(":", "-")

    def manifest_path(self, name: Name) -> Path:
        """Where the manifest of `name` lies, present or not."""
        return self.root / "manifests" / name.path

    def find(self, name: Name) -> Model | None:
        """The model of this name in any case, or None; a manifest that cannot be read counts as absent."""
        wanted = name.path.lower()
        return next((model for model in self.models() if model.name.path.lower() == wanted), None)

    def models(self) -> list[Model]:
        """All models, latest change first."""
        found = []
        for path in (self.root / "manifests").glob("*/*/*/*"):
            try:
                content, stamp = path.read_bytes(), path.stat().st_mtime
                name = Name(*path.relative_to(self.root / "manifests").parts)
                model = Model(name, self, content, datetime.fromtimestamp(stamp, UTC))
                if {"config", "layers"} <= model.manifest.keys():
                    found.append(model)
            except (OSError, ValueError, TypeError, AttributeError):
                continue
        return sorted(found, key=lambda model: (model.modified, model.name.path), reverse=True)

    def write_manifest(self, name: Name, content: bytes) -> None:
        """Store a manifest under a name, replacing an older one in a single step."""
        path = self.manifest_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.parent.parent / f".{name.model}-{name.tag}.tmp"
        temporary.write_bytes(content)
        temporary.replace(path)

    def delete(self, model: Model) -> None:
        """Remove a manifest, its empty folders, and the blobs that no other manifest names."""
        path = self.manifest_path(model.name)
        path.unlink()
        for folder in list(path.parents)[:3]:
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        self.drop_unused(digests_of(model.manifest))

    def prune(self) -> None:
        """At start, unless OLLAMA_NOPRUNE: remove the blobs that no manifest names, and partial downloads."""
        blobs = self.root / "blobs"
        if not blobs.is_dir():
            return
        present = {path.name.replace("-", ":", 1) for path in blobs.iterdir()}
        self.drop_unused(present)

    def drop_unused(self, digests: set[str]) -> None:
        """Remove those of these blobs that no manifest names."""
        used = {digest for model in self.models() for digest in digests_of(model.manifest)}
        for digest in digests - used:
            self.blob(digest).unlink(missing_ok=True)


def digests_of(manifest: dict[str, Any]) -> set[str]:
    """Every blob that a manifest names."""
    return {layer["digest"] for layer in [manifest["config"], *manifest["layers"]]}


def is_digest(text: str) -> bool:
    """Is this `sha256:` and 64 hex digits?"""
    return re.fullmatch(r"sha256:[0-9a-f]{64}", text) is not None
