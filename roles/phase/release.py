"""What a deploy puts on a host, as one thing with an id: files, software, models, and who made it from what."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from roles.layout import (
    ETC,
    LIBEXEC,
    adapter_release,
    digest,
    ollama_release,
    snapshot,
    snapshots,
    vision_snapshot,
    vllm_release,
)
from roles.pins import ROOT

if TYPE_CHECKING:
    from roles.site import Site

ADAPTER_CONFIGURATION, ADAPTER_VISION_CONFIGURATION = f"{ETC}/adapter.toml", f"{ETC}/adapter-vision.toml"


def manifest(site: Site, files: Mapping[str, str], by: str) -> dict[str, object]:
    """The release that this host should have.

    :param files: by path, the sha256 of each file or its link's target (roles.release_files.wanted_files).
    :param by: who makes it. Neither that nor the revision of the sources changes the id: the same content is the same release.
    """
    content = {"phase": site.phase, "files": dict(files), "needs": needs(site), "versions": versions(site)}
    return {
        "id": f"r-{digest(json.dumps(content, sort_keys=True))}",
        **content,
        "checks": checks(site),
        "keep": site.keep,
        "by": by,
        "source": source_revision(),
    }


def versions(site: Site) -> dict[str, str]:
    """Names of what runs, as they go on record."""
    found = {"ollama": ollama_release(site).name}
    if site.prepares_phase_2:
        found["vllm"] = vllm_release(site).name
        found["model"] = f"{site.vllm.model}@{snapshot(site).revision}"
        found["adapter"] = adapter_release().name
    if site.vision_on_vllm:
        found["vision_model"] = f"{site.vllm_vision.model}@{vision_snapshot(site).revision}"
    return found


def needs(site: Site) -> list[str]:
    """Paths that must be there besides the release's own files, each the last one written of something large."""
    found = [ollama_release(site).marker]
    if site.prepares_phase_2:
        found += [vllm_release(site).marker, adapter_release().marker]
        found += [one.marker for one in snapshots(site)]
    return found


def checks(site: Site) -> list[list[str]]:
    """Commands that must succeed before the release comes into its place; {root} is where its files lie until then."""
    if not site.prepares_phase_2:
        return []
    adapter, vllm = adapter_release().path, vllm_release(site).path
    configurations = [ADAPTER_CONFIGURATION, *([ADAPTER_VISION_CONFIGURATION] if site.vision_on_vllm else [])]
    asked = [f"{adapter}/bin/python", "-I", "-m", "ollama_adapter"]
    return [
        *([*asked, "--config", "{root}" + path, "--check-config"] for path in configurations),
        *([f"{vllm}/bin/python", "-I", f"{LIBEXEC}/check-model", one.path] for one in snapshots(site)),
    ]


@cache
def source_revision() -> str:
    """The commit of this checkout, with `+` when files differ from it; "unknown" outside git."""
    try:
        said = subprocess.run(
            ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*"],
            capture_output=True, text=True, timeout=20,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said.stdout.strip() or "unknown"
