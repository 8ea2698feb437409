"""What an operator may say about the two Ollama servers: `vision` serves in both phases, `text` is Phase 1."""

from __future__ import annotations

from pydantic import Field, field_validator

from roles.model_names import distinct
from roles.settings import GpuName, Settings


class OllamaInstance(Settings):
    """One server: its own port, model directory and unit (two servers in one directory prune each other's models)."""

    port: int = Field(ge=1024, le=65535, description="clients connect here")
    models: tuple[str, ...] = Field(min_length=1, description="pulled before the server is put to use")
    context_length: int = Field(4096, ge=256, description="tokens; Ollama's own default grows with the card's memory")
    keep_alive: str = Field("5m", pattern=r"^(-1|0|\d+(ms|s|m|h))$", description="how long an idle model stays loaded")
    max_loaded_models: int = Field(2, ge=1, le=16, description="models in memory at the same time")
    num_parallel: int = Field(1, ge=1, le=64, description="requests a model answers at the same time")
    gpus: tuple[GpuName, ...] = Field((), description="cards it may use, UUID (`nvidia-smi -L`) or index; empty: all")
    gpu_overhead_bytes: int = Field(0, ge=0, description="memory per card that Ollama leaves to others")

    _models_are_distinct = field_validator("models")(distinct)


class OllamaText(OllamaInstance):
    """Key `ollama.text`."""

    port: int = Field(11434, ge=1024, le=65535, description="in Phase 1; the adapter takes it over in Phase 2")
    models: tuple[str, ...] = Field(
        ("llama3.2", "llama2:7b", "nomic-embed-text"),
        min_length=1,
        description="the models of Phase 1's port; embeddings too, which the adapter has on that port in Phase 2",
    )
    max_loaded_models: int = Field(3, ge=1, le=16, description="models in memory at the same time")


class OllamaVision(OllamaInstance):
    """Key `ollama.vision`."""

    port: int = Field(
        11435, ge=1024, le=65535, description='in both phases; with `vision = "vllm"` of an adapter in Phase 2'
    )
    models: tuple[str, ...] = Field(
        ("llava:7b", "nomic-embed-text"),
        min_length=1,
        description="images and embeddings; also asked for through 11434",
    )
    loopback_port: int = Field(
        11436,
        ge=1024,
        le=65535,
        description='on 127.0.0.1, in Phase 2 with `vision = "vllm"`: what vLLM does not serve',
    )
    gpus: tuple[GpuName, ...] = Field(
        (), description="cards it may use, UUID or index; empty: those that vLLM does not name"
    )
    memory: str | None = Field(
        None,
        pattern=r"^[1-9]\d*[KMG]?$",
        description='memory of a card that is for vision, such as "8G"; on a card shared with vLLM Ollama is kept to it',
    )


class OllamaSettings(Settings):
    """Key `ollama` of the inventory."""

    version: str | None = Field(None, pattern=r"^\d+\.\d+\.\d+(-rc\d+)?$", description="release; default in pins.toml")
    sha256: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{64}$",
        description="of the release archive; default: pins.toml, then the release's own list",
    )
    address: str = Field(
        "0.0.0.0", pattern=r"^\d{1,3}(\.\d{1,3}){3}$", description="address of the host that both servers listen on"
    )
    pull_port: int = Field(11439, ge=1024, le=65535, description="on 127.0.0.1, only while models are pulled")
    pull_stall_s: int = Field(600, ge=30, description="give up on a model when no byte has come for so long")
    text: OllamaText = OllamaText()
    vision: OllamaVision = OllamaVision()
