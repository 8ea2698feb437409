"""Bodies of requests: JSON as Go reads it, and the texts of its complaints."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

from .names import InvalidName, Name, parse
from .store import Model, Store


class Refusal(Exception):
    """An answer that is an error: status and text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


# Struct name and Go types per route, for the texts of decoding errors.
STRUCTS = {
    "generate": "GenerateRequest", "chat": "ChatRequest", "embed": "EmbedRequest", "embeddings": "EmbeddingRequest",
    "show": "ShowRequest", "pull": "PullRequest", "copy": "CopyRequest", "delete": "DeleteRequest",
}  # fmt: skip
TYPES: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "model": (str, "string"), "name": (str, "string"), "source": (str, "string"), "destination": (str, "string"),
    "prompt": (str, "string"), "system": (str, "string"), "stream": (bool, "bool"), "insecure": (bool, "bool"),
    "messages": (list, "[]api.Message"), "images": (list, "[]api.ImageData"),
    "options": (dict, "map[string]interface {}"), "dimensions": (int, "int"),
}  # fmt: skip


def decode(body: bytes, route: str) -> dict[str, Any]:
    """The fields of a request, names in lower case. Raises Refusal (400) with Go's text."""
    text = body.decode(errors="replace").strip()
    if not text:
        raise Refusal(400, "missing request body")
    try:
        value, _ = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        raise Refusal(400, _syntax(text, error)) from None
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Refusal(400, f"json: cannot unmarshal {_go_kind(value)} into Go value of type api.{STRUCTS[route]}")
    fields = {key.lower(): field for key, field in value.items() if field is not None}
    for key, field in fields.items():
        if key not in TYPES:
            continue
        wanted, go_type = TYPES[key]
        if not isinstance(field, wanted) or (isinstance(field, bool) and wanted is not bool):
            where = f"{STRUCTS[route]}.{key} of type {go_type}"
            raise Refusal(400, f"json: cannot unmarshal {_go_kind(field)} into Go struct field {where}")
    return fields


def _syntax(text: str, error: json.JSONDecodeError) -> str:
    if text in ("{", "[") or error.pos >= len(text.rstrip()):
        return "unexpected EOF"
    character = text[error.pos]
    literal = {"n": "null", "t": "true", "f": "false"}.get(character)
    if literal and not text.startswith(literal, error.pos):
        for wrong, right in zip(text[error.pos :], literal, strict=False):
            if wrong != right:
                return f"invalid character '{wrong}' in literal {literal} (expecting '{right}')"
    if "property name" in error.msg:
        return f"invalid character '{character}' looking for beginning of object key string"
    return f"invalid character '{character}' looking for beginning of value"


def _go_kind(value: object) -> str:
    kinds: list[tuple[type | tuple[type, ...], str]] = [
        (bool, "bool"), (str, "string"), ((int, float), "number"), (list, "array"), (dict, "object"),
    ]  # fmt: skip
    return next(kind for types, kind in kinds if isinstance(value, types))


def model_text(fields: Mapping[str, Any]) -> str:
    """`model`, or the older `name`."""
    return str(fields.get("model") or fields.get("name") or "")


def name_of(text: str) -> Name:
    """Raises Refusal (400) for what is no model name."""
    try:
        return parse(text)
    except InvalidName:
        raise Refusal(400, "invalid model name") from None


def find(store: Store, text: str, route: str) -> Model:
    """The model that a request means. Raises Refusal with each route's own text for missing, invalid, unknown."""
    if not text:
        if route in ("generate", "embed"):
            raise Refusal(404, "model '' not found")
        raise Refusal(400, "model is required")
    if route == "delete":
        try:
            name = parse(text)
        except InvalidName:
            raise Refusal(400, f'name "{text}" is invalid') from None
    else:
        name = name_of(text)
    found = store.find(name)
    if found is not None:
        return found
    if route in ("embed", "embeddings"):
        raise Refusal(404, f'model "{text}" not found, try pulling it first')
    raise Refusal(404, f"model '{name.display if route == 'show' else text}' not found")


def images_of(values: list[Any]) -> list[bytes]:
    """Decoded images. Raises Refusal (400) with Go's text for what is no base64."""
    images = []
    for value in values:
        if not isinstance(value, str):
            raise Refusal(400, f"json: cannot unmarshal {_go_kind(value)} into Go struct field .images of type []uint8")
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        bare = value.rstrip("=")
        wrong = next((at for at, character in enumerate(bare) if character not in alphabet), None)
        if wrong is None and len(value) % 4:
            wrong = len(value) - len(value) % 4
        if wrong is not None:
            raise Refusal(400, f"illegal base64 data at input byte {wrong}")
        images.append(base64.b64decode(value))
    return images


OPTION_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(("num_ctx", "num_predict", "seed", "top_k", "num_keep"), ((int, float), "integer")),
    **dict.fromkeys(("temperature", "top_p", "min_p", "repeat_penalty"), ((int, float), "float32")),
    "stop": ((list,), "array"),
}


def options_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The options, checked as Ollama checks them. Raises Refusal (500, as Ollama does)."""
    options: dict[str, Any] = {key: value for key, value in fields.get("options", {}).items() if value is not None}
    for key, value in options.items():
        if key in OPTION_TYPES:
            types, go_type = OPTION_TYPES[key]
            if not isinstance(value, types) or isinstance(value, bool):
                raise Refusal(500, f'option "{key}" must be of type {go_type}')
    return options
