"""What models there are and which are loaded: both upstreams in one list."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec

from ..go.json import escape
from ..http.exchange import Exchange
from ..models.catalogue import Catalogue, Residency
from ..models.requests import ModelRequest, unknown_model
from ..service.peers import Peers
from ..settings import VisionSettings
from ..upstream.client import Upstream
from ..upstream.fetching import Fetched, fetch
from .names import InvalidName, parse
from .small_requests import read_fields
from .times import epoch_of

_encoder = msgspec.json.Encoder()


def to_json(value: Any) -> bytes:
    """JSON as Go writes it."""
    return escape(_encoder.encode(value))


def merged(own: list[dict[str, Any]], other: list[dict[str, Any]], sort_field: str) -> bytes:
    """Two lists of models as one, the latest first; of two entries of one name the own one stays."""
    taken = {parse(entry["model"]).key for entry in own}
    rest = [entry for entry in other if _key(entry) not in taken]
    models = sorted([*own, *rest], key=lambda entry: -epoch_of(str(entry.get(sort_field, ""))))
    return to_json({"models": models})


def _key(entry: dict[str, Any]) -> str:
    try:
        return parse(str(entry.get("model") or entry.get("name"))).key
    except InvalidName:
        return ""


class Listing:
    """Answers `/api/tags`, `/api/ps` and `/api/show`."""

    def __init__(
        self,
        catalogue: Catalogue,
        residency: Residency,
        vision: Upstream | None,
        settings: VisionSettings,
        peers: Peers,
    ) -> None:
        self._catalogue = catalogue
        self._residency = residency
        self._vision = vision
        self._peers = peers
        self._timeout_s = settings.list_timeout_s

    def tags(self, exchange: Exchange) -> None:
        """All models. Without Ollama Vision, the own ones."""

        def respond(entries: list[dict[str, Any]]) -> None:
            own = [self._catalogue.tags_entry(model) for model in self._catalogue.own_models]
            exchange.respond(200, merged(own, entries, "modified_at"))

        self.ask_vision("/api/tags", respond)

    def ps(self, exchange: Exchange) -> None:
        """The loaded models."""

        def respond(entries: list[dict[str, Any]], states: list[Any]) -> None:
            others = [state["residency"] for state in states]
            resident = self._residency.resident(self._catalogue.own_models, time.time(), others)
            own = [self._catalogue.ps_entry(model, expires_at) for model, expires_at in resident]
            exchange.respond(200, merged(own, entries, "expires_at"))

        self._peers.ask(lambda states: self.ask_vision("/api/ps", lambda entries: respond(entries, states)))

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """`/api/show`. See `Handler`."""
        fields = read_fields(request.action, request.decoded)
        if request.own is None:
            exchange.respond_error(*unknown_model(request.action, request.name))
            return
        for_copilot = exchange.head.header(b"user-agent").startswith("GitHubCopilotChat/")
        system = fields.get("system", "")
        answer = self._catalogue.show(request.own, exchange.model, system=system, for_copilot=for_copilot)
        exchange.respond(200, to_json(answer))

    def ask_vision(self, path: str, done: Callable[[list[dict[str, Any]]], None]) -> None:
        """Ollama Vision's list of models; an empty one where it has none or does not answer."""
        if self._vision is None:
            done([])
            return

        def read(answer: Fetched) -> None:
            entries = _models_in(answer.body) if answer.is_ok else []
            if answer.is_ok and path == "/api/tags":
                self._catalogue.learn_vision_models(str(entry.get("model") or entry.get("name")) for entry in entries)
            done(entries)

        fetch(self._vision, b"GET", path.encode(), read, self._timeout_s)


def _models_in(body: bytes) -> list[dict[str, Any]]:
    try:
        models = msgspec.json.decode(body)["models"]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return []
    return [entry for entry in models if isinstance(entry, dict)] if isinstance(models, list) else []
