"""`/api/blobs/:digest` (ollama-api 4.13).

Blobs are weights to make models from, and vLLM takes none from a client. The only ones there are, are the layers of
virtual models. An upload is read and checked as Ollama checks it, and then refused, because nothing could use it.
"""

from __future__ import annotations

import hashlib
import re

from ..http.exchange import Exchange
from ..models.virtual_models import VirtualModels

_DIGEST = re.compile(r"sha256[:-][0-9a-fA-F]{64}")
_NOT_KEPT = (
    "blobs are not kept: vLLM serves the models, and weights of clients cannot be added; a model with texts and "
    'parameters of its own is made with /api/create and "from"'
)


class Blobs:
    """Answers these requests."""

    def __init__(self, models: VirtualModels, max_bytes: int) -> None:
        """:param max_bytes: a larger blob is refused before it is read to its end."""
        self._models = models
        self._max_bytes = max_bytes

    def exists(self, exchange: Exchange) -> None:
        """HEAD: whether there is a blob."""
        digest = exchange.parameter
        if not _DIGEST.fullmatch(digest):
            exchange.respond_error(400, "invalid digest format")
        elif self._has(digest):
            exchange.respond(200, b"", b"")
        else:
            exchange.respond_error(404, f'blob "{digest}" not found')

    def upload(self, exchange: Exchange) -> None:
        """POST: its head has come."""
        digest = exchange.parameter
        if not _DIGEST.fullmatch(digest):
            exchange.respond_error(400, "invalid digest format")
        elif self._has(digest):
            exchange.respond(200, b"", b"")
        elif (exchange.head.content_length or 0) > self._max_bytes:
            exchange.respond_error(501, _NOT_KEPT)
        else:
            receiver = _Hashing(exchange, digest, self._max_bytes)
            exchange.receiver = receiver
            if exchange.is_body_complete:
                receiver.body_end()

    def _has(self, digest: str) -> bool:
        return digest[len("sha256:") :].lower() in {found for _, found in self._models.layers}


class _Hashing:
    """Reads an upload without keeping it."""

    def __init__(self, exchange: Exchange, digest: str, max_bytes: int) -> None:
        self._exchange = exchange
        self._digest = digest
        self._left = max_bytes
        self._hash = hashlib.sha256()

    def body_piece(self, data: bytes) -> None:
        """More of it."""
        self._hash.update(data)
        self._left -= len(data)
        if self._left < 0 and not self._exchange.is_over:
            self._exchange.respond_error(501, _NOT_KEPT)

    def body_end(self) -> None:
        """All of it has come."""
        found = f"sha256:{self._hash.hexdigest()}"
        if found == self._digest:
            self._exchange.respond_error(501, _NOT_KEPT)
        else:
            self._exchange.respond_error(400, f'digest mismatch, expected "{self._digest}", got "{found}"')
