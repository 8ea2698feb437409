"""`/api/embed` and `/api/embeddings`."""

from __future__ import annotations

from .catalogue import Residency
from .exchange import Exchange
from .go_json import quote
from .model_requests import ModelRequest, unknown_model
from .small_requests import read_fields

_NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"  # recorded, Ollama 0.32.15


class EmbeddingHandler:
    """Answers requests for embeddings."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        fields = read_fields(request.action, request.decoded)
        if request.own is None:
            exchange.respond_error(*unknown_model(request.action, request.name))
        elif request.action == "embeddings":
            if fields.get("prompt"):
                exchange.respond_error(500, _NO_EMBEDDINGS)
            else:
                exchange.respond(200, b'{"embedding":[]}')
        elif fields.get("input"):
            exchange.respond_error(501, _NO_EMBEDDINGS)
        else:
            exchange.respond(200, b'{"model":%b,"embeddings":[]}' % quote(exchange.model))
