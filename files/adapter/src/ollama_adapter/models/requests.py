"""A request that names a model, and those who answer such requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from ..http.exchange import Exchange
from ..ollama.names import InvalidName, parse
from .catalogue import OwnModel


@dataclass(frozen=True)
class ModelRequest:
    """A request whose body has come.

    `decoded` is the body as JSON without any check of types; `own` is None for a name that nobody serves.
    """

    action: str
    body: bytes
    decoded: Any
    name: str
    own: OwnModel | None


class Handler(Protocol):
    """Answers one kind of request. Not called for names that Ollama Vision serves: those are passed on."""

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """Answer, now or later, exactly once.

        :raises BadBody: the body is not what Ollama's decoder takes; answered as 400 in the shape of the route.
        """


def is_valid_name(name: str) -> bool:
    """Whether a text is a model name at all."""
    try:
        parse(name)
    except InvalidName:
        return False
    return True


def unknown_model(action: str, name: str) -> tuple[int, str]:
    """Status and message for a model that nobody serves (ollama-api 2.4)."""
    if not name:
        if action in ("generate", "embed"):
            return 404, "model '' not found"
        if action == "copy":
            return 400, 'source "" is invalid'
        return 400, "invalid model name" if action in ("pull", "create") else "model is required"
    if not is_valid_name(name):
        if action in ("copy", "delete"):
            return 400, f'{"source" if action == "copy" else "name"} "{name}" is invalid'
        return 400, "invalid model name"
    if action in ("embed", "embeddings"):
        return 404, f'model "{name}" not found, try pulling it first'
    if action == "copy":
        return 404, f'model "{name}" not found'
    return 404, f"model '{parse(name).display if action == 'show' else name}' not found"
