"""`/v1/embeddings`: OpenAI's shape around what `/api/embed` answers (ollama-api 5.4)."""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..go.decode import Shape, anything, integer, string
from ..go.json import BadBody, quote
from ..go.numbers import float32_list
from ..http.error_shapes import PLAIN_JSON
from ..http.exchange import Exchange
from ..models.catalogue import OwnModel
from ..ollama.embedding import tokens_to_keep
from ..ollama.vectors import embedding
from ..vllm.embedding_job import NO_EMBEDDINGS, EmbeddingJob, Inputs
from ..vllm.generation import BUSY, RETRY_AFTER
from .reading import read_request

_EMBED: Shape = {"input": anything, "model": string, "dimensions": integer, "encoding_format": string}


@dataclass
class EmbeddingRequest:
    """What a body asks for."""

    input: Any
    dimensions: int
    is_base64: bool


def read_embeddings(decoded: Any) -> EmbeddingRequest:
    """Read the body of a request. What the input consists of is not looked at yet: Ollama looks for the model first.

    :raises BadBody: the answer is 400 with this text.
    """
    fields = read_request(decoded, "openai", "EmbedRequest", _EMBED)
    encoding = fields.get("encoding_format", "")
    if encoding.lower() not in ("", "float", "base64"):
        supported = "Supported values: ['float', 'base64']."
        raise BadBody(f"Invalid value for 'encoding_format' = {encoding}. {supported}")
    given = fields.get("input")
    if given is None or given == []:
        raise BadBody("invalid input")
    return EmbeddingRequest(
        [given] if given == "" else given, fields.get("dimensions", 0), encoding.lower() == "base64"
    )


def texts_of(given: Any) -> list[str] | None:
    """The texts of an input; None where it has anything else, token ids for instance, which Ollama refuses."""
    texts = [given] if isinstance(given, str) else given
    return texts if isinstance(texts, list) and all(isinstance(text, str) for text in texts) else None


def write_base64(vector: array[float]) -> bytes:
    """A vector as base64 of its float32 numbers, little-endian, in quotes."""
    if sys.byteorder == "big":
        vector = array("f", vector)
        vector.byteswap()
    return b'"%b"' % base64.b64encode(vector.tobytes())


def answer(model: str, vectors: Sequence[bytes], tokens: int) -> bytes:
    """The body of an answer; `model` is the name as the client wrote it."""
    data = b",".join(
        b'{"object":"embedding","embedding":%b,"index":%d}' % (vector, index) for index, vector in enumerate(vectors)
    )
    usage = b'{"prompt_tokens":%d,"total_tokens":%d}' % (tokens, tokens)
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}\n' % (data, quote(model), usage)


def embed(exchange: Exchange, request: EmbeddingRequest, own: OwnModel, used: Callable[[], None]) -> None:
    """Answer a request that has been read.

    :param used: called when the model has been used.
    """
    backend = own.backend
    texts = texts_of(request.input)
    if texts is None:
        exchange.respond_error(400, "invalid input type")
        return
    if not backend.can("embedding"):
        exchange.respond_error(501, NO_EMBEDDINGS)
        return
    if backend.is_full:
        exchange.respond_error(503, BUSY, [RETRY_AFTER])
        return

    def write(raw: array[float]) -> bytes:
        vector = embedding(raw, request.dimensions)
        return write_base64(vector) if request.is_base64 else float32_list(vector)

    def done(vectors: list[bytes], tokens: int, dispatched_ns: int) -> None:
        used()
        exchange.prompt_tokens = tokens
        exchange.respond(200, answer(exchange.model, vectors, tokens), PLAIN_JSON)

    keep = tokens_to_keep(backend.model.max_model_len, backend.settings.default_options.get("num_ctx", 0))
    inputs = Inputs(texts=texts, truncate=True, keep_tokens=keep)
    EmbeddingJob(exchange, backend, inputs, write, done, is_legacy=False).begin()
