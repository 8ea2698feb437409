"""What the adapter asks vLLM's tokenizer on behalf of one request: texts to token ids, and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from ..http.exchange import Exchange
from ..models.backend import Backend
from ..upstream.client import Failure
from ..upstream.fetching import Fetched, fetch
from .to_vllm import DETOKENIZE_PATH, TOKENIZE_PATH, detokenize, tokenize_text

_TIMEOUT_S = 10.0


class TokenCalls:
    """Each call answers once, with None where vLLM did not; a vLLM that cannot be reached ends the request instead."""

    def __init__(self, exchange: Exchange, backend: Backend, failed: Callable[[Failure], None]) -> None:
        self._exchange = exchange
        self._backend = backend
        self._failed = failed

    def ids(self, body: bytes, done: Callable[[list[int] | None], None]) -> None:
        """The token ids of a body for `/tokenize`."""

        def answered(answer: Any) -> None:
            tokens = answer.get("tokens")
            done(tokens if isinstance(tokens, list) else None)

        self._ask(TOKENIZE_PATH, body, answered)

    def text(self, ids: Sequence[int], done: Callable[[str | None], None]) -> None:
        """The text of token ids, special tokens included."""

        def answered(answer: Any) -> None:
            prompt = answer.get("prompt")
            done(prompt if isinstance(prompt, str) else None)

        self._ask(DETOKENIZE_PATH, detokenize(self._backend.model, ids), answered)

    def front(self, done: Callable[[list[int]], None]) -> None:
        """What the tokenizer puts in front of every text; nothing where vLLM does not say. Asked once per model."""
        if self._backend.first_tokens is not None:
            done(self._backend.first_tokens)
            return

        def keep(ids: list[int] | None) -> None:
            self._backend.first_tokens = ids
            done(ids or [])

        self.ids(tokenize_text(self._backend.model, b"", special=True), keep)

    def without_front(self, ids: list[int], done: Callable[[list[int], list[int]], None]) -> None:
        """Split the ids of a prompt into what the tokenizer puts in front, and the rest."""

        def split(front: list[int]) -> None:
            if front and ids[: len(front)] == front:
                done(front, ids[len(front) :])
            else:
                done([], ids)

        self.front(split)

    def _ask(self, path: bytes, body: bytes, done: Callable[[dict[str, Any]], None]) -> None:
        def fetched(answer: Fetched) -> None:
            if self._exchange.is_over:
                return
            if answer.is_unreachable and not self._exchange.is_started:
                self._failed(Failure(answer.reason, is_unreachable=True))
                return
            try:
                decoded = msgspec.json.decode(answer.body, type=dict[str, Any]) if answer.is_ok else {}
            except (msgspec.DecodeError, UnicodeDecodeError):
                decoded = {}
            done(decoded)

        self._exchange.call = fetch(self._backend.upstream, b"POST", path, fetched, _TIMEOUT_S, body=body)
