"""`/api/embed` and `/api/embeddings`: checks, loading and unloading, vectors of a pooling vLLM."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from typing import Any

from ..go.json import quote
from ..go.numbers import float32_list, float64_list
from ..http.exchange import Exchange
from ..models.catalogue import OwnModel, Residency
from ..models.requests import ModelRequest, unknown_model
from ..vllm.embedding_job import NO_EMBEDDINGS, EmbeddingJob, Inputs
from ..vllm.generation import BUSY, RETRY_AFTER
from ..vllm.ready import check_ready
from .options import BadOption, read_options
from .small_requests import read_fields
from .vectors import check_finite, embedding

_SMALLEST_CONTEXT = 4  # Ollama's scheduler raises a smaller num_ctx to it


def does_not_generate(action: str, model: str, can: Callable[[str], bool]) -> str | None:
    """Why a model that only embeds refuses `generate` or `chat`; None where it does not (ollama-api 6).

    :param model: the name as the client wrote it.
    """
    return None if can("completion") else f'"{model}" does not support {action}'


def tokens_to_keep(max_model_len: int, num_ctx: int) -> int:
    """How many tokens of an input that is too long are embedded: one fewer than the context has.

    Recorded from Ollama 0.32.15, whose context of 2048 keeps 2047. `num_ctx` makes the context smaller, never larger.
    0: not known, because vLLM has not been asked yet.
    """
    if not max_model_len:
        return 0
    context = min(max_model_len, max(num_ctx, _SMALLEST_CONTEXT)) if num_ctx > 0 else max_model_len
    return max(context - 1, 1)


class EmbeddingHandler:
    """Answers requests for embeddings."""

    def __init__(self, residency: Residency) -> None:
        self._residency = residency

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        fields = read_fields(request.action, request.decoded)
        own = request.own
        if own is None:
            exchange.respond_error(*unknown_model(request.action, request.name))
            return
        try:
            options = {**own.backend.settings.default_options, **read_options(fields.get("options", {}))}
        except BadOption as error:
            exchange.respond_error(500, str(error))
            return
        is_legacy = request.action == "embeddings"
        texts = fields.get("prompt" if is_legacy else "input") or []
        if not texts:
            self._load(exchange, own, fields, is_legacy=is_legacy)
        elif not own.backend.can("embedding"):
            exchange.respond_error(500 if is_legacy else 501, NO_EMBEDDINGS)
        elif own.backend.is_full:
            exchange.respond_error(503, BUSY, [RETRY_AFTER])
        else:
            self._embed(exchange, own, fields, options, is_legacy=is_legacy)

    def _load(self, exchange: Exchange, own: OwnModel, fields: dict[str, Any], *, is_legacy: bool) -> None:
        """Nothing to embed: the request loads the model, or unloads it."""
        answer = b'{"embedding":[]}' if is_legacy else b'{"model":%b,"embeddings":[]}' % quote(exchange.model)

        def checked(trouble: str) -> None:
            if trouble:
                exchange.respond_error(503, f"{trouble}; the model is not loaded yet, try again", [RETRY_AFTER])
            else:
                self._used(own, fields)
                exchange.respond(200, answer)

        if fields.get("keep_alive") == 0:
            checked("")
        else:
            check_ready(own.backend.upstream, own.backend.settings.served_model, checked)

    def _embed(
        self, exchange: Exchange, own: OwnModel, fields: dict[str, Any], options: dict[str, Any], *, is_legacy: bool
    ) -> None:
        texts = [fields["prompt"]] if is_legacy else fields["input"]
        keep = tokens_to_keep(own.backend.model.max_model_len, options.get("num_ctx", 0))
        inputs = Inputs(
            texts=[texts] if isinstance(texts, str) else texts,
            truncate=not is_legacy and fields.get("truncate", True),
            keep_tokens=keep,
        )

        def done(vectors: list[bytes], tokens: int, dispatched_ns: int) -> None:
            self._used(own, fields)
            exchange.prompt_tokens = tokens
            if is_legacy:
                exchange.respond(200, b'{"embedding":%b}' % vectors[0])
                return
            now = time.monotonic_ns()
            head = b'{"model":%b,"embeddings":[' % quote(exchange.model)
            # Ollama leaves zeros out, but a client with a strict schema wants all three (ollama-api 4.4).
            metrics = b'],"total_duration":%d,"load_duration":%d,"prompt_eval_count":%d}' % (
                max(now - exchange.received_ns, 1),
                max(dispatched_ns - exchange.received_ns, 1),
                max(tokens, 1),
            )
            exchange.respond(200, b"".join((head, b",".join(vectors), metrics)))

        def write(raw: array[float]) -> bytes:
            if is_legacy:
                check_finite(raw)
                # Not normalised by Ollama's server; its type is float64, so the float32 is written in full.
                return float64_list(raw.tolist())
            return float32_list(embedding(raw, fields.get("dimensions", 0)))

        EmbeddingJob(exchange, own.backend, inputs, write, done, is_legacy=is_legacy).begin()

    def _used(self, own: OwnModel, fields: dict[str, Any]) -> None:
        keep_alive = fields.get("keep_alive")
        self._residency.use(own, time.time(), own.backend.keep_alive_s if keep_alive is None else keep_alive)
