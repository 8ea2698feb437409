"""The registry protocol as far as `ollama pull` uses it: manifests by tag, blobs by digest, both with ranges."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from lab.mirror.replies import Reply, Request, as_json, file, inside

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"


@dataclass(frozen=True)
class OllamaRegistry:
    """A folder laid out as Ollama's own store: `manifests/{namespace}/{model}/{tag}`, `blobs/sha256-{hex}`."""

    root: Path | None
    name: str = "registry"

    def answer(self, request: Request) -> Reply:
        """A manifest, a blob, or a registry's JSON error."""
        if request.path.rstrip("/") == "/v2":
            return as_json({})
        if match := re.fullmatch(r"/v2/([\w.-]+/[\w.-]+)/manifests/([\w.-]+)", request.path):
            found = inside(self.root / "manifests", "/".join(match.groups())) if self.root else None
            return file(found, content_type=MANIFEST_TYPE) if found else _unknown("MANIFEST_UNKNOWN", match[2])
        if match := re.fullmatch(r"/v2/[\w.-]+/[\w.-]+/blobs/sha256:([0-9a-f]{64})", request.path):
            found = inside(self.root / "blobs", f"sha256-{match[1]}") if self.root else None
            if found:
                return file(found, content_type="application/octet-stream", etag=f"sha256:{match[1]}")
            return _unknown("BLOB_UNKNOWN", match[1])
        return _unknown("NAME_UNKNOWN", request.path)


def _unknown(code: str, detail: str) -> Reply:
    message = f"{code.replace('_', ' ').lower()} to registry"
    return as_json({"errors": [{"code": code, "message": message, "detail": detail}]}, 404)
