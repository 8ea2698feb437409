"""`/v1/models` and `/v1/models/:model`: the models in OpenAI's shape (ollama-api 5.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..http.error_shapes import PLAIN_JSON
from ..http.exchange import Exchange
from ..models.catalogue import Catalogue
from ..models.requests import unknown_model
from ..ollama.listing import Listing, to_json
from ..ollama.names import InvalidName, parse
from ..ollama.times import epoch_of


def entry(identifier: str, modified: float) -> dict[str, Any]:
    """One model. Ollama names the namespace as its owner."""
    owner = parse(identifier).namespace
    return {"id": identifier, "object": "model", "created": int(modified), "owned_by": owner}


class ModelList:
    """Answers both routes."""

    def __init__(self, catalogue: Catalogue, listing: Listing, pass_on: Callable[[Exchange, bytes], None]) -> None:
        """:param pass_on: sends a request to Ollama Vision."""
        self._catalogue = catalogue
        self._listing = listing
        self._pass_on = pass_on

    def all(self, exchange: Exchange) -> None:
        """All models, the latest first."""

        def respond(others: list[dict[str, Any]]) -> None:
            found = [(model.modified, model.name.display) for model in self._catalogue.own_models]
            for other in others:
                name = str(other.get("model") or other.get("name"))
                if self._catalogue.is_on_vision(name):
                    found.append((epoch_of(str(other.get("modified_at", ""))), name))
            found.sort(key=lambda item: -item[0])
            body = to_json({"object": "list", "data": [entry(name, modified) for modified, name in found] or None})
            exchange.respond(200, body + b"\n", PLAIN_JSON)

        self._listing.ask_vision("/api/tags", respond)

    def one(self, exchange: Exchange) -> None:
        """The model that the path names."""
        name = exchange.parameter
        exchange.model = name

        def respond(_: object) -> None:
            own = self._catalogue.own(name)
            if own is not None:
                exchange.respond(200, to_json(entry(name, own.modified)) + b"\n", PLAIN_JSON)
            elif self._catalogue.is_on_vision(name):
                self._pass_on(exchange, b"")
            else:
                exchange.respond_error(*unknown_model("show", name))

        if self._catalogue.own(name) is not None or not _is_name(name):
            respond(None)
        else:
            self._listing.ask_vision("/api/tags", respond)


def _is_name(text: str) -> bool:
    try:
        parse(text)
    except InvalidName:
        return False
    return True
