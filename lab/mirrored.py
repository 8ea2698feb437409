"""The mirrors of a lab: what its hosts have instead of the internet, and the settings that point a host at them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lab.lab import Lab
from lab.mirror import grafana_releases, process, repositories
from lab.mirror.process import Mirrors

READER_TOKEN = "hf_lab_reader"  # one of the tokens that the lab's hub knows; no secret
MODEL = "meta-llama/Llama-2-7b-chat-hf"


def ensure(lab: Lab) -> Mirrors:
    """The running mirrors of a lab that has a network; makes their content first where it is missing (minutes)."""
    mirrors = process.ensure_running(lab.gateway, lab.mirror_directory)
    token = lab.directory / "hub-token"
    token.write_text(READER_TOKEN)
    token.chmod(0o600)
    return mirrors


def settings(lab: Lab) -> dict[str, Any]:
    """Host data for a host of this lab: a machine without a GPU, whose every source is a mirror.

    These are the settings an air-gapped site would use. {} while the mirrors do not run.
    """
    mirrors = process.status(lab.mirror_directory)
    if mirrors is None:
        return {}
    return {
        "gpu": "none",
        "mirrors": {
            "python_index": mirrors.python_index_url,
            "torch_cpu_index": mirrors.python_index_url,
            "hub": mirrors.hub_endpoint,
            "ollama_releases": mirrors.ollama_releases,
            "ollama_registry": mirrors.ollama_registry,
            "grafana_releases": mirrors.grafana_releases,
            "cuda_repositories": mirrors.cuda_repositories,
            "container_toolkit": mirrors.container_toolkit_repository,
            "docker": mirrors.docker_repositories,
        },
        "docker": {"source": "distribution", "key_fingerprint": mirrors.apt_key_fingerprint},
        "monitoring": {"grafana": {"sha256": grafana_releases.sha256(_served(lab, "grafana"))}},
        "vllm": {
            "model": MODEL,
            "model_revision": revision(lab, MODEL),
            "max_model_len": 2048,
            "dtype": "float32",
            "kv_cache_memory": "64M",
            "enforce_eager": True,
            "hub_token_file": str(lab.directory / "hub-token"),
        },
    }


def revision(lab: Lab, model: str) -> str:
    """The one revision that the lab's hub has of a model."""
    return repositories.read(_served(lab, "models"))[model].revision


def _served(lab: Lab, content: str) -> Path:
    """The folder that the running mirrors have something from, by its name in lab.mirror.sites.Content."""
    record = json.loads((lab.mirror_directory / process.RECORD).read_text())
    return Path(json.loads(record["content"])[content])
