"""Settings from a TOML file and the environment; every mistake is reported at once, with the nearest known name."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from .ollama import environment as ollamas
from .ollama.names import parse
from .settings import ENVIRONMENT_PREFIX, SECTIONS, Settings, SettingsError, VllmSettings

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


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
    given = os.environ if environment is None else environment
    _apply_environment(document, given, mistakes)
    _fill_from_ollamas_environment(document, given)
    sections: dict[str, Any] = {}
    further = document.pop("models", [])
    if isinstance(further, list) and all(isinstance(entry, dict) for entry in further):
        models = [
            _section(f"models[{position}]", VllmSettings, entry, mistakes) for position, entry in enumerate(further)
        ]
    else:
        mistakes.append("models: must be tables, [[models]]")
        models = []
    for name, value in document.items():
        if name not in SECTIONS:
            mistakes.append(_unknown(name, [*SECTIONS, "models"]))
        elif not isinstance(value, dict):
            mistakes.append(f"{name}: must be a section, [{name}]")
        else:
            sections[name] = _section(name, SECTIONS[name], value, mistakes)
    if not mistakes:
        settings = Settings(**sections, models=models, file_time=file_time)
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
    lines.append("# Further models of vLLM: a table for each, with the settings of [vllm].")
    lines.append("# [[models]]")
    return "\n".join(lines) + "\n"


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


def _fill_from_ollamas_environment(document: dict[str, Any], environment: Mapping[str, str]) -> None:
    """What an Ollama server is told, where nobody told the adapter. It comes last: many a shell has OLLAMA_HOST for the
    command line client, and that must not move a service whose file says where it listens."""
    values = {name: ollamas.value(environment.get(f"OLLAMA_{name}", "")) for name in ("HOST", "ORIGINS", "KEEP_ALIVE")}
    found: list[tuple[Any, str, Any]] = []
    if values["HOST"]:
        host, port = ollamas.listening_at(values["HOST"])
        server = document.setdefault("server", {})
        found += [(server, "host", host), (server, "port", port)]
    if values["ORIGINS"]:
        found.append((document.setdefault("server", {}), "origins", ollamas.origins(values["ORIGINS"])))
    if keep_alive := ollamas.keep_alive(values["KEEP_ALIVE"]):
        further = document.get("models")
        models = [document.setdefault("vllm", {}), *(further if isinstance(further, list) else [])]
        found += [(model, "keep_alive", keep_alive) for model in models]
    for table, key, value in found:
        if isinstance(table, dict):
            table.setdefault(key, value)


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
    for section, facts in settings.named_models():
        for position, alias in enumerate(facts.aliases):
            other = own.setdefault(parse(alias).key, f"{section}.aliases[{position}] {alias!r}")
            if other != f"{section}.aliases[{position}] {alias!r}":
                mistakes.append(f"{section}.aliases: {other} and {alias!r} are the same name")
        if not facts.aliases:
            mistakes.append(f"{section}.aliases: at least one name is needed")
    for model in settings.vision.models:
        if parse(model).key in own:
            mistakes.append(f"vision.models: {model!r} is also in vllm.aliases; one name can have one backend")
    if settings.vision.models and not settings.vision.url:
        mistakes.append("vision.models: there are models but vision.url is empty")
    return mistakes
