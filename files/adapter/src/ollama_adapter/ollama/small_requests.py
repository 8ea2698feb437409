"""The fields of requests that are neither text nor lists, and `/api/pull`."""

from __future__ import annotations

from typing import Any

from ..go.decode import (
    Reading,
    Shape,
    anything,
    boolean,
    integer,
    json_object,
    keep_alive,
    kind_of,
    read_object,
    string,
)
from ..go.json import BadBody
from ..http.exchange import Exchange
from ..models.requests import ModelRequest, is_valid_name, unknown_model
from .progress import Progress

NOT_IN_REGISTRY = "pull model manifest: file does not exist"

_NAMED: Shape = {"model": string, "name": string}
_reading = Reading(string_arguments=True, data_uri_images=True, content_parts=True)


def _strings(value: Any, path: str) -> dict[str, str]:
    """A Go map[string]string."""
    if not isinstance(value, dict):
        raise BadBody(f"json: cannot unmarshal {kind_of(value)} into Go struct field {path} of type map[string]string")
    return {name: string(item, path) for name, item in value.items() if item is not None}


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
    "create": (
        "CreateRequest",
        {
            **_NAMED,
            "from": string,
            "stream": boolean,
            "quantize": string,
            "quantization": string,
            "files": _strings,
            "adapters": _strings,
            "template": string,
            "license": anything,
            "system": string,
            "parameters": json_object,
            "messages": _reading.chat["messages"],
        },
    ),
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
    if action == "embed" and not _is_embed_input(fields.get("input", "")):
        raise BadBody("invalid input type")
    return fields


def _is_embed_input(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value))


class PullHandler:
    """Answers `/api/pull`."""

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        fields = read_fields(request.action, request.decoded)
        if request.own is None and not is_valid_name(request.name):
            exchange.respond_error(*unknown_model(request.action, request.name))
        else:
            pull(Progress(exchange, stream=fields.get("stream", True)), is_served=request.own is not None)


def pull(progress: Progress, *, is_served: bool) -> None:
    """Nothing is downloaded here. A model that is served is there already and says so in Ollama's steps; any other ends
    in the error that Ollama gives for a model that its registry does not have."""
    progress.step("pulling manifest")
    if not is_served:
        progress.fail(500, NOT_IN_REGISTRY)
        return
    progress.step("verifying sha256 digest")
    progress.step("writing manifest")
    progress.succeed()
