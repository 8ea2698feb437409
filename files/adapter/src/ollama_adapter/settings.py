"""The adapter's settings: a TOML file, environment variables on top, checked together.

A setting `port` in the section `[server]` is also read from `OLLAMA_ADAPTER_SERVER_PORT`; commas separate a list. What
neither says comes from `OLLAMA_HOST`, `OLLAMA_ORIGINS` and `OLLAMA_KEEP_ALIVE`, the variables of an Ollama server.
All mistakes are reported at once; an unknown key names the nearest known one.
"""

# `setting` makes a dataclasses.field, which is what RUF009 asks for.
# ruff: noqa: RUF009
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from .ollama.names import InvalidName, parse
from .ollama.options import BadOption, read_options
from .ollama.times import DurationError, parse_duration
from .vllm.fill_in_the_middle import template_problem

CAPABILITIES = ("completion", "tools", "insert", "vision", "embedding", "thinking", "image", "audio")
CONTEXT_MODES = ("text", "generated", "off")
ENVIRONMENT_PREFIX = "OLLAMA_ADAPTER_"

Check = Callable[[Any], "str | None"]


class SettingsError(ValueError):
    """One line per mistake."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


def _between(low: float, high: float) -> Check:
    return lambda value: None if low <= value <= high else f"{value!r} is not between {low} and {high}"


def _one_of(*allowed: str) -> Check:
    return lambda value: None if value in allowed else f"{value!r} is not one of {', '.join(allowed)}"


def _each(check: Check) -> Check:
    return lambda values: next((problem for value in values if (problem := check(value))), None)


def _filled(value: str) -> str | None:
    return None if value.strip() else "must not be empty"


def _http_url(value: str) -> str | None:
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        return f"{value!r} is not a URL: {error}"
    has_more = parts.path.strip("/") or parts.query or parts.username
    if parts.scheme != "http" or not parts.hostname or has_more or port == 0:
        return f"{value!r} is not of the form http://host:port"
    return None


def _model_name(value: str) -> str | None:
    try:
        parse(value)
    except InvalidName:
        return f"{value!r} is not a model name"
    return None


def _duration(value: str) -> str | None:
    try:
        parse_duration(value)
    except DurationError as error:
        return str(error)
    return None


def _options(value: Mapping[str, Any]) -> str | None:
    try:
        read_options(value)
    except BadOption as error:
        return str(error)
    return None


def setting(default: Any, help_text: str, check: Check | None = None) -> Any:
    """A field of a section, with the text for `--help` and the check of its value."""
    metadata = {"help": help_text, "check": check}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class ServerSettings:
    """The side of the clients."""

    host: str = setting("127.0.0.1", "address to listen on, empty: all; ignored when systemd hands over a socket")
    port: int = setting(11434, "port to listen on; ignored when systemd hands over a socket", _between(0, 65535))
    ollama_version: str = setting("0.32.15", "what /api/version says; clients compare it", _filled)
    processes: int = setting(1, "processes that share the port, for more than one core", _between(1, 128))
    token_file: str = setting(
        "",
        "file with a token that clients must send as `Authorization: Bearer` or `x-api-key`, "
        "for instance a systemd credential",
    )
    state_directory: str = setting(
        "", "where virtual models (/api/create, /api/copy) are kept; empty: they are gone when the adapter ends"
    )
    origins: list[str] = setting([], "browser origins allowed beside Ollama's defaults, as in OLLAMA_ORIGINS")
    drain_timeout_s: float = setting(30.0, "after SIGTERM: how long answers may take to finish", _between(0, 86400))
    max_body_bytes: int = setting(268_435_456, "largest body read for a model of vLLM", _between(1024, 2**40))
    max_head_bytes: int = setting(65_536, "largest request head", _between(1024, 2**20))
    head_timeout_s: float = setting(15.0, "how long a client may take to send a head", _between(1, 3600))
    body_timeout_s: float = setting(60.0, "how long a client may pause inside a body", _between(1, 3600))
    idle_timeout_s: float = setting(75.0, "how long an idle connection is kept", _between(1, 3600))
    stall_timeout_s: float = setting(300.0, "how long a client may leave an answer unread", _between(1, 86400))
    max_connections: int = setting(4096, "connections at once; more are answered 503", _between(1, 10**6))


@dataclass(frozen=True)
class VllmSettings:
    """The model that vLLM serves, and its names in Ollama's world."""

    url: str = setting("http://127.0.0.1:8000", "where vLLM listens", _http_url)
    replicas: list[str] = setting([], "further vLLM servers of the same model, to share the load", _each(_http_url))
    served_model: str = setting("llm", "vLLM's --served-model-name", _filled)
    aliases: list[str] = setting(["llama2:7b", "llama2", "llama3.2"], "names that clients use", _each(_model_name))
    api_key_file: str = setting("", "file with vLLM's API key, for instance a systemd credential")
    max_requests: int = setting(
        1024, "requests for this model at once; more are answered 503, as Ollama does when its queue is full",
        _between(1, 10**6),
    )  # fmt: skip
    connect_timeout_s: float = setting(2.0, "how long to wait for a connection", _between(0.05, 300))
    first_byte_timeout_s: float = setting(
        120.0, "how long to wait for the head of a streamed answer", _between(0.1, 86400)
    )
    chunk_timeout_s: float = setting(300.0, "how long a streamed answer may pause", _between(0.1, 86400))
    answer_timeout_s: float = setting(1800.0, "how long an answer that is not streamed may take", _between(0.1, 86400))
    # What is empty or 0 below is found: see fact_finder.
    model_directory: str = setting("", "the model's files; empty: where vLLM says they are, if it is on this machine")
    repository: str = setting("", "the model's repository, for /api/show; empty: what vLLM serves")
    revision: str = setting("", "its pinned revision")
    context_length: int = setting(0, "vLLM's --max-model-len; 0: found", _between(0, 2**31))
    embedding_length: int = setting(0, "width of the model; 0: found", _between(0, 2**31))
    size_bytes: int = setting(0, "size on disk; 0: found, or estimated from parameter_size", _between(0, 2**50))
    family: str = setting("", "architecture, as Ollama calls it; empty: found")
    parameter_size: str = setting("", "number of parameters, as Ollama prints it; empty: found")
    quantization: str = setting("", "type of the weights, as Ollama prints it; empty: found")
    modified_at: str = setting("", "RFC 3339 time for the listings; empty: the time of the configuration file")
    license: str = setting("", "licence text for /api/show")
    capabilities: list[str] = setting([], "what the model can do; empty: found", _each(_one_of(*CAPABILITIES)))
    chat_template: bool = setting(
        True, "false: the model has no chat template, prompts are written in ChatML, as by Ollama"
    )
    fim_template: str = setting(
        "", "prompt for `suffix`, with {prefix} and {suffix}; empty: of the tokenizer's tokens, if it has them",
        template_problem,
    )  # fmt: skip
    keep_alive: str = setting("5m", "how long /api/ps lists the model after its last use", _duration)
    context: str = setting("text", "token ids in the answers of /api/generate: tokenized from the text, as Ollama does "
                           "(one more call to vLLM), generated, or off", _one_of(*CONTEXT_MODES))  # fmt: skip
    default_options: dict[str, Any] = setting({}, "sampling options where a request sets none", _options)


@dataclass(frozen=True)
class VisionSettings:
    """The Ollama server behind the adapter. Without a URL there is none."""

    url: str = setting("", "where Ollama Vision listens", lambda value: _http_url(value) if value else None)
    models: list[str] = setting([], "models it serves; others are found in its own list", _each(_model_name))
    connect_timeout_s: float = setting(2.0, "how long to wait for a connection", _between(0.05, 300))
    list_timeout_s: float = setting(2.0, "how long to wait for its list of models", _between(0.05, 300))
    chunk_timeout_s: float = setting(
        1800.0, "how long it may be silent; it loads models on demand", _between(0.1, 86400)
    )


@dataclass(frozen=True)
class LeniencySettings:
    """What is accepted although Ollama refuses or ignores it."""

    top_level_options: bool = setting(True, "temperature, top_p, num_predict ... beside `options`")
    string_arguments: bool = setting(True, "tool call arguments as a JSON string")
    data_uri_images: bool = setting(True, "images as data: URIs")
    content_parts: bool = setting(True, "message content as a list of text parts")


@dataclass(frozen=True)
class Settings:
    """All of it."""

    server: ServerSettings = field(default_factory=ServerSettings)
    vllm: VllmSettings = field(default_factory=VllmSettings)
    vision: VisionSettings = field(default_factory=VisionSettings)
    leniency: LeniencySettings = field(default_factory=LeniencySettings)
    models: list[VllmSettings] = field(default_factory=list)
    file_time: float = 0.0  # of the configuration file; not a setting

    def named_models(self) -> Iterator[tuple[str, VllmSettings]]:
        """Every model of vLLM with the name of its section: `vllm`, `models[0]` ..."""
        yield "vllm", self.vllm
        for position, model in enumerate(self.models):
            yield f"models[{position}]", model


SECTIONS: dict[str, type] = {
    "server": ServerSettings,
    "vllm": VllmSettings,
    "vision": VisionSettings,
    "leniency": LeniencySettings,
}
