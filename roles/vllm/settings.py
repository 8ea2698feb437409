"""What an operator may say about vLLM, on loopback, behind an adapter: the text model, and one that sees pictures."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from pydantic import Field, field_validator

from roles.model_names import distinct
from roles.quantization import KvCacheDtype, Method
from roles.secret_sources import SecretCommand, SecretFile, SecretSource, Variable
from roles.settings import GpuName, Settings


class VllmServer(Settings):
    """One vLLM with one model. Memory is per GPU; sizes with a unit are text such as "64M" or "8G"."""

    model: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="repository on the model hub, `owner/name`")
    model_revision: str | None = Field(
        None,
        pattern=r"^[0-9a-f]{40}$",
        description="commit of that repository; known models have one in roles/pins.toml",
    )
    served_name: str = Field("llm", min_length=1, description="the name vLLM itself knows the model by")
    aliases: tuple[str, ...] = Field(min_length=1, description="the names Ollama clients ask for")
    port: int = Field(ge=1024, le=65535, description="on 127.0.0.1 only; clients use the adapter")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="share of each card's whole memory for vLLM")
    max_model_len: int = Field(4096, ge=16, le=10_000_000, description="context, in tokens")
    tensor_parallel_size: int = Field(1, ge=1, le=64, description="cards that share one model")
    prefix_caching: bool = Field(True, description="reuse the work for prompts that begin alike")
    dtype: str = Field(
        "auto", pattern=r"^(auto|half|float16|bfloat16|float|float32)$", description="of weights and sums"
    )
    quantization: Method | None = Field(
        None, description="how the weights are made smaller; None: as the model was stored (docs/operations.md)"
    )
    kv_cache_dtype: KvCacheDtype = Field("auto", description="of the KV cache; `fp8` holds twice as many tokens")
    kv_cache_memory: str | None = Field(
        None, pattern=r"^\d+[KMG]?$", description="fixed size of the KV cache instead of the share above"
    )
    enforce_eager: bool = Field(False, description="no graphs, no compilation: starts faster, runs slower")
    gpus: tuple[GpuName, ...] = Field(
        (), description="cards for vLLM, UUID (`nvidia-smi -L`) or index; empty: those that vision does not name"
    )
    extra_args: tuple[str, ...] = Field((), description="further `vllm serve` arguments, verbatim")
    ready_timeout_s: int = Field(900, ge=60, le=7200, description="from start to the first generated token")
    drain_timeout_s: int = Field(60, ge=1, le=600, description="what running requests get when vLLM is stopped")

    _aliases_are_distinct = field_validator("aliases")(distinct)


class VllmSettings(VllmServer):
    """Key `vllm` of the inventory: the text model."""

    model: str = Field(
        "meta-llama/Llama-2-7b-chat-hf",
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="repository on the model hub, `owner/name`",
    )
    aliases: tuple[str, ...] = Field(
        ("llama2:7b", "llama2", "llama3.2"), min_length=1, description="the names Ollama clients ask for"
    )
    port: int = Field(8000, ge=1024, le=65535, description="on 127.0.0.1 only; clients use the adapter")
    weights_size: str | None = Field(
        None,
        pattern=r"^\d+[KMG]?$",
        description="size of the weights, for preflight where neither the hub nor the host tells it",
    )
    hub_cache: str = Field("/var/lib/llm/hub", description="directory of downloaded models on the host")
    hub_token_variable: Variable = Field("HF_TOKEN", description="variable on the controller that holds the hub token")
    hub_token_file: SecretFile = Field(None, description="file on the controller that holds the hub token instead")
    hub_token_command: SecretCommand = Field(
        (), description="command on the controller that prints it instead, a list of words; no shell reads it"
    )
    download_stall_s: int = Field(600, ge=30, description="give up on the model when no byte has come for so long")

    @property
    def hub_token(self) -> SecretSource:
        """Where the controller has the token for the model hub."""
        return SecretSource("vllm.hub_token", self.hub_token_variable, self.hub_token_file, self.hub_token_command)

    @field_validator("hub_cache")
    @classmethod
    def _absolute(cls, path: str) -> str:
        if not PurePosixPath(path).is_absolute() or path.startswith(("/home/", "/root", "/tmp")):
            raise ValueError("must be an absolute path that a service can see: not below /home, /root or /tmp")
        return path.rstrip("/")


class VllmVisionSettings(VllmServer):
    """Key `vllm_vision`, read where `vision` is "vllm". The model is kept and fetched as the text model, see `vllm.hub_…`."""

    model: str = Field(
        "allenai/olmOCR-2-7B-1025",
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="repository on the model hub of a model that sees, `owner/name`",
    )
    aliases: tuple[str, ...] = Field(
        ("llava:7b", "llava"),
        min_length=1,
        description="the names Ollama clients ask for; those of `ollama.vision.models` that are missing stay Ollama's",
    )
    port: int = Field(8001, ge=1024, le=65535, description="on 127.0.0.1 only; clients use the adapter before it")
    gpu_memory_utilization: float = Field(
        0.4, gt=0, le=1, description="share of each card's whole memory; on a card of both it and `vllm`'s must fit"
    )
    max_model_len: int = Field(
        16384, ge=16, le=10_000_000, description="context, in tokens; a page for OCR takes some thousand"
    )
    images_per_prompt: int = Field(4, ge=1, le=1000, description="pictures in one request; more are refused with 400")
    capabilities: tuple[Literal["completion", "tools", "thinking", "vision"], ...] = Field(
        (), description="what the model can do; empty: found, `vision` by the `vision_config` of its config.json"
    )
    gpus: tuple[GpuName, ...] = Field(
        (), description="cards for it, UUID or index; empty: those that `vllm.gpus` does not name"
    )
