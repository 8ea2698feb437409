"""The routes that are neither text nor lists, for names that no Ollama server behind the adapter serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .exchange import Exchange
from .go_decode import Shape, anything, boolean, integer, json_object, keep_alive, read_object, string
from .go_json import BadBody
from .http_answer import NDJSON

_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"  # recorded, Ollama 0.32.15
_NAMED: Shape = {"model": string, "name": string}

# The Go type that messages name, and the fields whose types are checked.
SHAPES: dict[str, tuple[str, Shape]] = {
    "show": ("ShowRequest", {**_NAMED, "system": string, "template": string, "verbose": boolean, "options": anything}),
    "embed": (
        "EmbedRequest",
        {
            "model": string,
            "input": anything,
            "truncate": boolean,
            "dimensions": integer,
            "keep_alive": keep_alive,
            "options": json_object,
        },
    ),
    "embeddings": (
        "EmbeddingRequest",
        {"model": string, "prompt": string, "keep_alive": keep_alive, "options": json_object},
    ),
    "pull": ("PullRequest", {**_NAMED, "insecure": boolean, "stream": boolean}),
    "push": ("PushRequest", {**_NAMED, "insecure": boolean, "stream": boolean}),
    "create": ("CreateRequest", {**_NAMED, "from": string, "stream": boolean}),
    "copy": ("CopyRequest", {"source": string, "destination": string}),
    "delete": ("DeleteRequest", _NAMED),
}


def read_fields(action: str, decoded: Any) -> dict[str, Any]:
    """The fields of a request other than generate and chat.

    :raises BadBody: a field has the wrong type.
    """
    if action not in SHAPES:
        return {}
    type_name, shape = SHAPES[action]
    fields = read_object(decoded, type_name, shape)
    if action == "embed" and not isinstance(fields.get("input", ""), str | list):
        raise BadBody("invalid input type")
    return fields


def embed_with_text_model(exchange: Exchange, action: str, model_json: bytes, fields: Mapping[str, Any]) -> None:
    """What Ollama says for a model that only generates (recorded): nothing for nothing, else an error."""
    if action == "embeddings":
        if fields.get("prompt"):
            exchange.respond_error(500, _NO_EMBEDDINGS)
        else:
            exchange.respond(200, b'{"embedding":[]}')
    elif fields.get("input"):
        exchange.respond_error(501, _NO_EMBEDDINGS)
    else:
        exchange.respond(200, b'{"model":%b,"embeddings":[]}' % model_json)


def pull(exchange: Exchange, fields: Mapping[str, Any], *, is_served: bool) -> None:
    """Nothing is downloaded here. A model that is served is there already and says so in Ollama's steps; any other ends
    in the error that Ollama gives for a model that its registry does not have."""
    states = [b"pulling manifest"]
    if is_served:
        states += (b"verifying sha256 digest", b"writing manifest", b"success")
    error = "pull model manifest: file does not exist"
    if not fields.get("stream", True):
        if is_served:
            exchange.respond(200, b'{"status":"success"}', b"application/json")
        else:
            exchange.error = error
            exchange.respond(500, b'{"error":"%b"}' % error.encode(), b"application/json")
        return
    exchange.start(200, NDJSON)
    exchange.send_lines([b'{"status":"%b"}\n' % state for state in states])
    if is_served:
        exchange.finish()
    else:
        exchange.respond_error(500, error)
