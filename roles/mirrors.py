"""Where a host fetches from. An air-gapped or mirrored site changes these URLs and nothing else."""

from __future__ import annotations

from pydantic import Field

from roles.settings import Settings

URL = r"^https?://[^\s]+[^\s/]/?$"


class MirrorSettings(Settings):
    """Key `mirrors` of the inventory. Every URL is what the original site serves, with another host in front."""

    distribution: str | None = Field(
        None,
        pattern=URL,
        description="the distribution's archives `debian` and `debian-security`, or `ubuntu`; default: the host's own sources",
    )
    python_index: str | None = Field(
        None, pattern=URL, description="package index (PEP 503); default: the one built into uv and pip"
    )
    torch_cpu_index: str = Field(
        "https://download.pytorch.org/whl/cpu",
        pattern=URL,
        description="CPU builds of torch, where python_index has none",
    )
    python_builds: str | None = Field(
        None, pattern=URL, description="interpreters that uv fetches when the distribution's is too old"
    )
    hub: str = Field("https://huggingface.co", pattern=URL, description="model hub (HF_ENDPOINT)")
    ollama_releases: str = Field(
        "https://github.com/ollama/ollama/releases/download", pattern=URL, description="Ollama archives and checksums"
    )
    ollama_registry: str = Field("https://registry.ollama.ai", pattern=URL, description="Ollama models")
    grafana_releases: str = Field(
        "https://dl.grafana.com/grafana/release",
        pattern=URL,
        description="Grafana archives, `VERSION/grafana_VERSION_BUILD_linux_amd64.tar.gz`; with `monitoring.stack` only",
    )
    cuda_repositories: str = Field(
        "https://developer.download.nvidia.com/compute/cuda/repos", pattern=URL, description="driver packages"
    )
    container_toolkit: str = Field(
        "https://nvidia.github.io/libnvidia-container", pattern=URL, description="NVIDIA container toolkit packages"
    )
    docker: str = Field("https://download.docker.com/linux", pattern=URL, description="Docker packages")
