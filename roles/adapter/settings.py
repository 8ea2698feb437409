"""What an operator may say about the adapter, the Ollama API in front of vLLM."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, field_validator

from roles.model_names import distinct
from roles.secret_sources import SecretCommand, SecretFile, SecretSource, Variable
from roles.settings import Settings

KEEP_ALIVE = r"^(-1|0|\d+(ms|s|m|h))$"  # as of ollama.text

Capability = Literal["completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio"]
Url = Annotated[str, StringConstraints(pattern=r"^http://([\w.-]+|\[[0-9a-fA-F:]+\])(:[1-9]\d{0,4})?/?$")]


def _fills_in(template: str) -> str:
    for place in ("{prefix}", "{suffix}"):
        if template and template.count(place) != 1:
            raise ValueError(f"must have {place} once")
    return template


def _readable(path: str | None) -> str | None:
    if path and (not PurePosixPath(path).is_absolute() or path.startswith(("/home/", "/root", "/tmp"))):
        raise ValueError("must be an absolute path that a service can see: not below /home, /root or /tmp")
    return path


class AdapterModel(Settings):
    """What can be said about each model that vLLM serves."""

    replicas: tuple[Url, ...] = Field(
        (), description="further vLLM servers of the same model, `http://host:port`; the load is shared"
    )
    max_requests: int = Field(1024, ge=1, le=10**6, description="at once; more are answered 503, as by a busy Ollama")
    keep_alive: str = Field(
        "5m", pattern=KEEP_ALIVE, description="how long /api/ps lists an unused model; vLLM itself unloads nothing"
    )
    capabilities: tuple[Capability, ...] = Field((), description="what the model can do; empty: found")
    fim_template: Annotated[str, StringConstraints(strip_whitespace=False), AfterValidator(_fills_in)] = Field(
        "", description="prompt for `suffix`, with {prefix} and {suffix}; empty: by the tokenizer, if it can"
    )
    model_directory: Annotated[str | None, AfterValidator(_readable)] = Field(
        None, description="the model's files on the host, for sizes and tokens; default: where `vllm.model` lies"
    )

    @field_validator("replicas")
    @classmethod
    def _once_each(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        if len({url.rstrip("/") for url in urls}) < len(urls):
            raise ValueError("must name each server once")
        return urls


class FurtherModel(AdapterModel):
    """An element of `adapter.models`: a model that a vLLM elsewhere serves, beside the one of this host."""

    url: Url = Field(description="where its vLLM listens, `http://host:port`")
    served_name: str = Field("llm", min_length=1, description="the name that vLLM knows the model by")
    aliases: tuple[str, ...] = Field(min_length=1, description="the names Ollama clients ask for")
    model_directory: Annotated[str | None, AfterValidator(_readable)] = Field(
        None, description="the model's files on the host; default: where its vLLM says, if they are here"
    )

    _aliases_are_distinct = field_validator("aliases")(distinct)


class Leniency(Settings):
    """Key `adapter.leniency`: what is accepted although Ollama refuses or ignores it."""

    top_level_options: bool = Field(True, description="temperature, num_predict … beside `options`")
    string_arguments: bool = Field(True, description="tool call arguments as a JSON text")
    data_uri_images: bool = Field(True, description="images as `data:` URIs")
    content_parts: bool = Field(True, description="message content as a list of text parts")


class AdapterSettings(AdapterModel):
    """Key `adapter` of the inventory."""

    address: str = Field(
        "0.0.0.0", pattern=r"^\d{1,3}(\.\d{1,3}){3}$", description="address of the host that clients reach it by"
    )
    port: int = Field(11434, ge=1024, le=65535, description="in Phase 2; Phase 1's text server has it otherwise")
    processes: int = Field(1, ge=1, le=128, description="processes that share the port, for more than one core")
    drain_timeout_s: int = Field(30, ge=1, le=600, description="what running answers get when the adapter is stopped")
    max_body_bytes: int = Field(256 * 2**20, ge=2**20, le=2**40, description="largest request; images make tens of MB")
    origins: tuple[Annotated[str, StringConstraints(min_length=1, pattern=r"^[^\s,]+$")], ...] = Field(
        (), description="browser origins beside Ollama's defaults, as in OLLAMA_ORIGINS; `*`: all"
    )
    context: Literal["text", "generated", "off"] = Field(
        "text",
        description="`context` of /api/generate: as Ollama makes it (a call more), of the generated tokens, or none",
    )
    require_token: bool = Field(
        False, description="clients must send the token of `token_command`, `token_file` or `token_variable`"
    )
    token_variable: Variable = Field(
        "OLLAMA_ADAPTER_TOKEN", description="variable on the controller that holds the token"
    )
    token_file: SecretFile = Field(None, description="file on the controller that holds the token instead")
    token_command: SecretCommand = Field(
        (), description="command on the controller that prints it instead, a list of words; no shell reads it"
    )
    models: tuple[FurtherModel, ...] = Field((), description="models that further vLLM servers serve, see below")
    leniency: Leniency = Leniency()

    @property
    def token(self) -> SecretSource:
        """Where the controller has the token that clients send."""
        return SecretSource("adapter.token", self.token_variable, self.token_file, self.token_command)
