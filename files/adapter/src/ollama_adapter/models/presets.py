"""What a virtual model adds to a served one: system text, template, parameters, messages, licences. Pure functions."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import msgspec

from ..go.json import escape
from ..go.template_nodes import TemplateError
from ..ollama.prompt_template import parse_template
from ..ollama.requests import TextRequest

_encoder = msgspec.json.Encoder()

_FIELDS = (("tools", "tools"), ("insert", "suffix"))  # capability -> what a template has that has a place for it

# A part of a virtual model and the SHA-256 of its text, as Ollama names the layers of a model.
Layer = tuple[str, str]


@dataclass(frozen=True)
class Preset:
    """The parts of a virtual model; empty where it has none. Messages are as `go_decode.Reading` reads them."""

    system: str = ""
    template: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: Sequence[Mapping[str, Any]] = ()
    licenses: Sequence[str] = ()

    @cached_property
    def _template_uses(self) -> frozenset[str]:
        """Which of tools, insert and thinking the template has a place for, by Ollama's rule."""
        try:
            template = parse_template(self.template)
        except TemplateError:  # each request will say so
            return frozenset()
        named = [name for name, field_name in _FIELDS if field_name in template.fields]
        return frozenset([*named, *(["thinking"] if template.has_thinking_tags else [])])

    def capabilities(self, of_base: Iterable[str]) -> tuple[str, ...]:
        """The capabilities of a model with this preset. A template of its own must have a place for tools and for
        thoughts; one for a suffix is all that filling in needs."""
        names = tuple(of_base)
        if not self.template:
            return names
        uses = self._template_uses
        kept = [name for name in names if name in uses or name not in ("tools", "insert", "thinking")]
        if "insert" in uses and "insert" not in kept and "completion" in kept:
            kept.insert(kept.index("completion") + 1, "insert")
        return tuple(kept)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers that Ollama would store, in its order (recorded, Ollama 0.32.15: the digests are the same)."""
        texts = [("template", self.template), ("system", self.system)]
        texts += [("license", text) for text in self.licenses]
        if self.parameters:
            texts.append(("params", _go_lines({name: self.parameters[name] for name in sorted(self.parameters)})))
        if self.messages:
            texts.append(("messages", _go_lines(shown_messages(self.messages))))
        return tuple((kind, hashlib.sha256(text.encode()).hexdigest()) for kind, text in texts if text)


def combined(base: Preset, given: Preset) -> Preset:
    """A preset on top of the one of the model it is made from: parameters one by one and licences together, as in
    Ollama; of everything else what is given replaces what was there."""
    return Preset(
        system=given.system or base.system,
        template=given.template or base.template,
        parameters={**base.parameters, **given.parameters},
        messages=given.messages or base.messages,
        licenses=(*base.licenses, *given.licenses),
    )


def with_preset(request: TextRequest, preset: Preset) -> TextRequest:
    """A request as the served model gets it. What the request itself says wins; a raw prompt stays as it is.

    As in Ollama: the messages of the preset come before those of a chat, even before its system message, and the
    system text only where a chat does not begin with one. `context` stands for the messages of an earlier answer, which
    had them already.
    """
    parameters = {
        name: value
        for name, value in preset.parameters.items()
        if request.raw_options.get(name) is None and name not in request.options
    }
    request = replace(request, raw_options={**request.raw_options, **parameters})
    if request.raw:
        return request
    request.template = request.template or preset.template
    if request.kind == "chat":
        own_system = bool(request.messages) and request.messages[0]["role"] == "system"
        system = [{"role": "system", "content": preset.system}] if preset.system and not own_system else []
        request.messages = [*system, *map(dict, preset.messages), *request.messages]
    elif not request.suffix:
        request.system = request.system or preset.system
        request.messages = [] if request.context else [dict(message) for message in preset.messages]
    return request


def shown_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages as Ollama prints them: role and content first, without empty fields."""
    return [
        {
            "role": message.get("role", ""),
            "content": message.get("content", ""),
            **{name: value for name, value in message.items() if value and name not in ("role", "content")},
        }
        for message in messages
    ]


def to_plain(preset: Preset) -> dict[str, Any]:
    """A preset as JSON can carry it, images in base64; without what is empty."""
    plain = {
        "system": preset.system,
        "template": preset.template,
        "parameters": dict(preset.parameters),
        "messages": shown_messages(preset.messages),
        "licenses": list(preset.licenses),
    }
    return {name: value for name, value in plain.items() if value}


def _go_lines(value: Any) -> str:
    """JSON as Go's encoder writes it into a layer: with a line feed behind."""
    return escape(_encoder.encode(value)).decode() + "\n"


def digest_of(name_key: str, base_digest: str, preset: Preset) -> str:
    """64 hex digits for the listings: other ones for another name, another base or other contents."""
    parts = [name_key, base_digest, *(f"{kind}:{digest}" for kind, digest in preset.layers)]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
