"""Requests to generate text: what `/api/generate` and `/api/chat` bodies ask for, defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..go.decode import Reading, read_object
from ..go.json import quote, raw_members
from .options import read_options, top_level_options

Kind = Literal["generate", "chat"]


class BadFormat(ValueError):
    """A `format` that is neither "json" nor a schema; Ollama answers 500 with this text."""


@dataclass
class TextRequest:
    """One request for text. Fields that only one of the two kinds has are empty in the other."""

    kind: Kind
    model: str = ""
    stream: bool = True
    keep_alive_s: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    raw_options: dict[str, Any] = field(default_factory=dict)
    format: Any = None
    format_text: str = ""
    think: bool | str | None = None
    logprobs: bool = False
    top_logprobs: int = 0
    truncate: bool = True  # a prompt that is too long is cut
    shift: bool = True  # an answer may go on when the context is full
    renders_only: bool = False
    # generate
    prompt: str = ""
    suffix: str = ""
    system: str = ""
    template: str = ""
    context: list[int] = field(default_factory=list)
    raw: bool = False
    images: list[bytes] = field(default_factory=list)
    # chat
    messages: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
    # further fields for vLLM, under its own names
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Nothing to answer: the request loads or unloads the model (ollama-api 4.3)."""
        return not (self.prompt if self.kind == "generate" else self.messages)

    @property
    def has_images(self) -> bool:
        """Some message, or the prompt, comes with a picture."""
        return bool(self.images) or any(message.get("images") for message in self.messages)

    def check_options(self) -> None:
        """Fill `options` in. Apart from reading, because Ollama looks at options after the model.

        :raises BadOption: an option has the wrong type.
        """
        self.options = {**self.options, **read_options(self.raw_options)}

    def response_format(self) -> dict[str, Any] | None:
        """vLLM's `response_format` for `format`.

        :raises BadFormat: `format` is neither "json" nor an object.
        """
        if self.format in (None, ""):
            return None
        if self.format == "json":
            return {"type": "json_object"}
        if isinstance(self.format, dict):
            return {"type": "json_schema", "json_schema": {"name": "format", "schema": self.format}}
        expected = 'expected "json" or a valid JSON Schema object'
        raise BadFormat(f"invalid format: {quote(self.format_text).decode()}; {expected}")


def read_text_request(kind: Kind, decoded: Any, body: bytes, reading: Reading, *, top_level: bool) -> TextRequest:
    """Read a generate or chat request.

    :param decoded: the body as `decode` gives it.
    :param body: as it came; messages about `format` quote it.
    :param top_level: honour sampling options beside `options` (`leniency.top_level_options`).
    :raises BadBody: Ollama answers 400 with this text.
    """
    shape, type_name = (reading.generate, "GenerateRequest") if kind == "generate" else (reading.chat, "ChatRequest")
    fields = read_object(decoded, type_name, shape)
    request = TextRequest(kind)
    for source, value in fields.items():
        setattr(request, _RENAMED.get(source, source), value)
    if request.format not in (None, "", "json") and not isinstance(request.format, dict):
        request.format_text = _as_written(body, "format")
    if top_level and isinstance(decoded, dict):
        request.options = top_level_options(decoded, request.raw_options)
    for message in request.messages:
        message["role"] = message.get("role", "").lower()
    return request


# Fields of the body that the request has by another name.
_RENAMED = {"keep_alive": "keep_alive_s", "options": "raw_options", "_debug_render_only": "renders_only"}


def _as_written(body: bytes, field_name: str) -> str:
    for name, raw in raw_members(body).items():
        if name.lower() == field_name:
            return raw.decode()
    return ""


def model_of(decoded: Any, *keys: str) -> str | None:
    """The model that a decoded body names, under the first of the keys that has a text; None where none has.

    Keys match in any case, and the last of two equal ones wins, as in the full decoding.
    """
    if not isinstance(decoded, Mapping):
        return None
    found = {lower: value for name, value in decoded.items() if (lower := name.lower()) in keys and type(value) is str}
    return next((found[key] for key in keys if found.get(key)), None)
