"""Virtual models."""

from __future__ import annotations

from .catalogue import Catalogue
from .exchange import Exchange
from .model_requests import ModelRequest, unknown_model
from .small_requests import read_fields


class VirtualModelHandler:
    """Answers `/api/create`, `/api/copy`, `/api/delete` and `/api/push`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        read_fields(request.action, request.decoded)
        if request.own is None:
            exchange.respond_error(*unknown_model(request.action, request.name))
        else:
            exchange.respond_error(501, f"{exchange.head.path} is not available")
