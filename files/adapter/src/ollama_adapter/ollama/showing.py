"""The texts and tables of `/api/show` (ollama-api 4.8): pure functions of what is known about a model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..models.facts import ModelFacts
from ..vllm.fill_in_the_middle import in_ollamas_notation

_PLAIN_TEMPLATE = "{{ .Prompt }}"


def shown_capabilities(names: Iterable[str]) -> list[str]:
    """The capabilities to list. While none is known it is text: some clients take no model without any."""
    return list(names) or ["completion"]


def shown_template(facts: ModelFacts) -> str:
    """The model's own chat template, in Jinja, as Ollama 0.32 shows it for models that have one (recorded).

    A model that fills in has Ollama's notation instead: Continue looks for `.Suffix` in it.
    """
    if facts.fim_template and "insert" in facts.capabilities:
        prompt = in_ollamas_notation(facts.fim_template)
        return f"{{{{- if .Suffix }}}}{prompt}{{{{ else }}}}{_PLAIN_TEMPLATE}{{{{ end }}}}"
    return facts.chat_template or _PLAIN_TEMPLATE


def parameter_lines(options: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Options as names and values, one for each stop text; without those that are None."""
    return [
        (name, item)
        for name, value in options.items()
        for item in (value if isinstance(value, list) else [value])
        if item is not None
    ]


def shown_parameters(parameters: Iterable[tuple[str, Any]]) -> str:
    """The field `parameters`: a name in 30 columns and its value on each line, texts in quotes (recorded)."""
    return "\n".join(f"{name:<30} {_value(value)}" for name, value in parameters)


def modelfile(
    name: str,
    source: str,
    template: str,
    system: str,
    parameters: Iterable[tuple[str, Any]],
    license_text: str,
    messages: Iterable[Mapping[str, Any]] = (),
) -> str:
    """A Modelfile. That of a served model only shows it; a virtual one can be made of its own again."""
    comment = "# Modelfile written by ollama-adapter: the model is served by vLLM"
    lines = [comment, f"# FROM {name}", "", f"FROM {source}", f"TEMPLATE {_quoted(template)}"]
    if system:
        lines.append(f"SYSTEM {_quoted(system)}")
    for parameter, value in parameters:
        lines.append(f"PARAMETER {parameter} {_quoted(value) if isinstance(value, str) else _value(value)}")
    if license_text:
        lines.append(f'LICENSE """{license_text}"""')
    lines += [f"MESSAGE {message['role']} {_quoted(message['content'])}" for message in messages]
    return "\n".join(lines) + "\n"


def model_info(facts: ModelFacts, basename: str) -> dict[str, Any]:
    """What a GGUF file would say, in Go's order: sorted."""
    info: dict[str, Any] = {"general.architecture": facts.family, "general.basename": basename}
    if facts.parameter_count:
        info["general.parameter_count"] = facts.parameter_count
    if facts.context_length:
        info[f"{facts.family}.context_length"] = facts.context_length
    for key, value in facts.info.items():
        info[key if key.startswith("general.") else f"{facts.family}.{key}"] = value
    return dict(sorted(info.items()))


def _value(value: Any) -> str:
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _quoted(text: str) -> str:
    """A text as the Modelfiles that Ollama writes have it: in quotes only where it needs them."""
    if "\n" in text or text != text.strip():
        return f'"""{text}"""'
    return text
