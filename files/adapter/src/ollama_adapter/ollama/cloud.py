"""The routes of Ollama's cloud and its accounts. The adapter is as an Ollama whose cloud features are switched off and
where nobody is signed in; it asks nobody else."""

from __future__ import annotations

from collections.abc import Callable

from ..http.exchange import Exchange
from ..models.catalogue import Catalogue
from .listing import to_json

_DISABLED = "ollama cloud is disabled"


def me(exchange: Exchange) -> None:
    """`/api/me`: what Ollama answers where it cannot reach its cloud. A `signin_url` would lead nowhere."""
    exchange.respond_error(503, "account unavailable")


def sign_out(exchange: Exchange) -> None:
    """`/api/signout`, and `/api/user/keys/:key`, which is its older name."""
    exchange.respond_error(401, "you are not currently signed in")


def switched_off(operation: str) -> Callable[[Exchange], None]:
    """A search of the cloud."""

    def answer(exchange: Exchange) -> None:
        if exchange.head.has_body:
            exchange.respond_error(403, f"{_DISABLED}: {operation} is unavailable")
        else:
            exchange.respond_error(400, "missing request body")

    return answer


def recommendations(catalogue: Catalogue) -> Callable[[Exchange], None]:
    """`/api/experimental/model-recommendations`: what is served here. Ollama recommends what it could download."""

    def answer(exchange: Exchange) -> None:
        found = [
            {
                "model": model.name.display,
                "description": f"{model.facts.repository}, served by vLLM",
                **({"context_length": model.facts.context_length} if model.facts.context_length else {}),
            }
            for model in catalogue.own_models
        ]
        exchange.respond(200, to_json({"recommendations": found}))

    return answer
