"""The fields of requests that are neither text nor lists, and `/api/pull`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .exchange import Exchange
from .go_decode import Shape, anything, boolean, integer, json_object, keep_alive, read_object, string
from .go_json import BadBody
from .http_answer import NDJSON
from .model_requests import ModelRequest, is_valid_name, unknown_model

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


class PullHandler:
    """Answers `/api/pull`."""

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        fields = read_fields(request.action, request.decoded)
        if request.own is None and not is_valid_name(request.name):
            exchange.respond_error(*unknown_model(request.action, request.name))
        else:
            pull(exchange, fields, is_served=request.own is not None)


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
