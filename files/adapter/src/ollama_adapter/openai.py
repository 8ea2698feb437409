"""`/v1/*`."""

from __future__ import annotations

from .catalogue import Residency
from .exchange import Exchange
from .model_requests import ModelRequest, unknown_model


class OpenAiHandler:
    """Answers the routes of OpenAI and Anthropic."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        if request.own is None:
            exchange.respond_error(*unknown_model(request.action, request.name))
        else:
            exchange.respond_error(501, f"{exchange.head.path} is not available")
