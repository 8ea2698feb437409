"""The adapter's settings: a TOML file, environment variables on top, checked together.

A setting `port` in the section `[server]` is also read from `OLLAMA_ADAPTER_SERVER_PORT`; commas separate a list.
All mistakes are reported at once; an unknown key names the nearest known one.
"""

# `setting` makes a dataclasses.field, which is what RUF009 asks for.
# ruff: noqa: RUF009
from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit

from .names import InvalidName, parse
from .options import BadOption, read_options
from .times import DurationError, parse_duration

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

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

    host: str = setting("127.0.0.1", "address to listen on; ignored when systemd hands over a socket", _filled)
    port: int = setting(11434, "port to listen on; ignored when systemd hands over a socket", _between(0, 65535))
    ollama_version: str = setting("0.32.15", "what /api/version says; clients compare it", _filled)
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
    served_model: str = setting("llm", "vLLM's --served-model-name", _filled)
    aliases: list[str] = setting(["llama2:7b", "llama2", "llama3.2"], "names that clients use", _each(_model_name))
    api_key_file: str = setting("", "file with vLLM's API key, for instance a systemd credential")
    connect_timeout_s: float = setting(2.0, "how long to wait for a connection", _between(0.05, 300))
    first_byte_timeout_s: float = setting(
        120.0, "how long to wait for the head of a streamed answer", _between(0.1, 86400)
    )
    chunk_timeout_s: float = setting(300.0, "how long a streamed answer may pause", _between(0.1, 86400))
    answer_timeout_s: float = setting(1800.0, "how long an answer that is not streamed may take", _between(0.1, 86400))
    repository: str = setting("meta-llama/Llama-2-7b-chat-hf", "the model's repository, for /api/show", _filled)
    revision: str = setting("", "its pinned revision")
    context_length: int = setting(4096, "vLLM's --max-model-len", _between(1, 2**31))
    embedding_length: int = setting(0, "width of the model, 0 if not known", _between(0, 2**31))
    size_bytes: int = setting(0, "size on disk; 0: estimated from parameter_size and quantization", _between(0, 2**50))
    family: str = setting("llama", "architecture, as Ollama calls it", _filled)
    parameter_size: str = setting("6.7B", "number of parameters, as Ollama prints it", _filled)
    quantization: str = setting("F16", "type of the weights, as Ollama prints it", _filled)
    modified_at: str = setting("", "RFC 3339 time for the listings; empty: the time of the configuration file")
    license: str = setting("", "licence text for /api/show")
    capabilities: list[str] = setting(["completion"], "what the model can do", _each(_one_of(*CAPABILITIES)))
    chat_template: bool = setting(True, "false: the model has no chat template, prompts go to vLLM as they are")
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
    file_time: float = 0.0  # of the configuration file; not a setting


SECTIONS: dict[str, type] = {
    "server": ServerSettings,
    "vllm": VllmSettings,
    "vision": VisionSettings,
    "leniency": LeniencySettings,
}


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read and check the settings.

    :param path: the TOML file, or None for defaults and environment only.
    :param environment: `os.environ` if not given.
    :raises SettingsError: with every mistake there is.
    """
    mistakes: list[str] = []
    document: dict[str, Any] = {}
    file_time = 0.0
    if path is not None:
        try:
            file_time = path.stat().st_mtime
            document = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError([f"{path}: cannot be read: {error}"]) from None
        except tomllib.TOMLDecodeError as error:
            raise SettingsError([f"{path}: not TOML: {error}"]) from None
    _apply_environment(document, os.environ if environment is None else environment, mistakes)
    sections: dict[str, Any] = {}
    for name, value in document.items():
        if name not in SECTIONS:
            mistakes.append(_unknown(name, SECTIONS))
        elif not isinstance(value, dict):
            mistakes.append(f"{name}: must be a section, [{name}]")
        else:
            sections[name] = _section(name, SECTIONS[name], value, mistakes)
    if not mistakes:
        settings = Settings(**sections, file_time=file_time)
        mistakes = _contradictions(settings)
    if mistakes:
        raise SettingsError(mistakes)
    return settings


def describe() -> str:
    """The sections and settings with their defaults, as an example file."""
    lines = []
    for name, section in SECTIONS.items():
        lines.append(f"[{name}]  # {(section.__doc__ or '').splitlines()[0]}")
        for item in fields(section):
            lines.append(f"{item.name} = {_toml(_default(item))}  # {item.metadata['help']}")
        lines.append("")
    return "\n".join(lines)


def _default(item: Field[Any]) -> Any:
    return item.default if item.default_factory is MISSING else item.default_factory()


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return str(value)


def _unknown(key: str, known: Collection[str], prefix: str = "") -> str:
    near = get_close_matches(key, known, n=1)
    hint = f"did you mean {prefix}{near[0]}?" if near else f"known: {', '.join(known)}"
    return f"{prefix}{key}: unknown setting; {hint}"


def _section(name: str, section: type, values: Mapping[str, Any], mistakes: list[str]) -> Any:
    known = {item.name: item for item in fields(section)}
    types = get_type_hints(section)
    accepted: dict[str, Any] = {}
    for key, value in values.items():
        if key not in known:
            mistakes.append(_unknown(key, known, f"{name}."))
            continue
        problem, value = _typed(value, types[key])
        check = known[key].metadata["check"]
        if problem is None and check is not None:
            problem = check(value)
        if problem is None:
            accepted[key] = value
        else:
            mistakes.append(f"{name}.{key}: {problem}")
    return section(**accepted)


def _typed(value: Any, wanted: Any) -> tuple[str | None, Any]:
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return None, float(value)
    plain = {"list[str]": list, "dict[str, typing.Any]": dict}.get(str(wanted), wanted)
    if isinstance(value, bool) is not (plain is bool) or not isinstance(value, plain):
        words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", dict: "a table"}
        return f"{value!r} is not {words.get(plain, 'a list of texts')}", value
    if plain is list and not all(isinstance(item, str) for item in value):
        return f"{value!r} is not a list of texts", value
    return None, value


def _apply_environment(document: dict[str, Any], environment: Mapping[str, str], mistakes: list[str]) -> None:
    known = {
        f"{section}_{item.name}".upper(): (section, item) for section in SECTIONS for item in fields(SECTIONS[section])
    }
    for variable, text in environment.items():
        if not variable.startswith(ENVIRONMENT_PREFIX):
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX)
        if name not in known:
            mistakes.append(_unknown(name, known, ENVIRONMENT_PREFIX))
            continue
        section, item = known[name]
        try:
            value = _from_text(text, _default(item))
        except ValueError as error:
            mistakes.append(f"{variable}: {error}")
            continue
        table = document.setdefault(section, {})
        if isinstance(table, dict):
            table[item.name] = value


def _from_text(text: str, default: Any) -> Any:
    if isinstance(default, bool):
        if text.lower() not in ("true", "false", "1", "0"):
            raise ValueError(f"{text!r} is not true or false")
        return text.lower() in ("true", "1")
    if isinstance(default, int | float):
        try:
            return type(default)(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a number") from None
    if isinstance(default, list):
        return [part.strip() for part in text.split(",") if part.strip()]
    if isinstance(default, dict):
        raise ValueError("cannot be set in the environment; use the configuration file")
    return text


def _contradictions(settings: Settings) -> list[str]:
    mistakes = []
    own: dict[str, str] = {}
    for alias in settings.vllm.aliases:
        other = own.setdefault(parse(alias).key, alias)
        if other != alias:
            mistakes.append(f"vllm.aliases: {other!r} and {alias!r} are the same name")
    for model in settings.vision.models:
        if parse(model).key in own:
            mistakes.append(f"vision.models: {model!r} is also in vllm.aliases; one name can have one backend")
    if settings.vision.models and not settings.vision.url:
        mistakes.append("vision.models: there are models but vision.url is empty")
    if not settings.vllm.aliases:
        mistakes.append("vllm.aliases: at least one name is needed")
    return mistakes
