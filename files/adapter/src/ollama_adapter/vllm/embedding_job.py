"""The texts of one request for embeddings, sent to vLLM in batches, and the vectors that come back."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from ..http.exchange import Exchange
from ..models.backend import Backend
from ..ollama.vectors import BadVector, from_base64
from ..upstream.fetching import Fetched, fetch
from .frames import Usage
from .refusals import refusal

EMBEDDINGS_PATH = b"/v1/embeddings"
TOO_LONG = "the input length exceeds the context length"  # recorded, Ollama 0.32.15
NO_EMBEDDINGS = "This server does not support embeddings. Start it with `--embeddings`"  # recorded, Ollama 0.32.15
# One request to vLLM: enough to fill its batch, little enough that an answer with vectors of 8192 numbers stays small.
_BATCH_TEXTS = 256
_BATCH_CHARACTERS = 4 * 1024 * 1024
# Vectors are turned into text between other requests: so many numbers at once, which takes 5 ms.
_NUMBERS_AT_ONCE = 4096
_MAX_ANSWER_BYTES = 512 * 1024 * 1024

_encoder = msgspec.json.Encoder()


class _Entry(msgspec.Struct):
    embedding: str
    index: int = 0


class _Answer(msgspec.Struct):
    data: list[_Entry]
    usage: Usage = msgspec.field(default_factory=Usage)


_decode = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True)
class Inputs:
    """What to embed.

    :param truncate: embed the beginning of a text that is too long, instead of refusing it.
    :param keep_tokens: how much of it; 0 for as much as vLLM can.
    """

    texts: Sequence[str]
    truncate: bool
    keep_tokens: int


def batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """The texts in their order, in groups that are bounded in number and size."""
    start = size = 0
    for position, text in enumerate(texts):
        if position > start and (position - start >= _BATCH_TEXTS or size + len(text) > _BATCH_CHARACTERS):
            yield texts[start:position]
            start, size = position, 0
        size += len(text)
    yield texts[start:]


def to_vllm_body(served_model: str, texts: Sequence[str], inputs: Inputs) -> bytes:
    """The body of a request to vLLM. base64 because numbers as text cost ten times as much to read."""
    fields: dict[str, object] = {"model": served_model, "input": texts, "encoding_format": "base64"}
    if inputs.truncate:
        fields["truncate_prompt_tokens"] = inputs.keep_tokens or -1  # -1: max_model_len
        fields["truncation_side"] = "right"  # the end is cut off
    return _encoder.encode(fields)


class EmbeddingJob:
    """One request for embeddings: answers it, or its error, exactly once.

    While vLLM works on a batch, the vectors of the one before are written out.
    """

    def __init__(
        self,
        exchange: Exchange,
        backend: Backend,
        inputs: Inputs,
        write: Callable[[array[float]], bytes],
        done: Callable[[list[bytes], int, int], None],
        *,
        is_legacy: bool,
    ) -> None:
        """
        :param write: makes JSON of a vector of the model; may raise `BadVector`.
        :param done: gets the vectors, the number of tokens, and when vLLM was asked first.
        """
        self._exchange = exchange
        self._backend = backend
        self._inputs = inputs
        self._write = write
        self._done = done
        # The older route knows one status for everything that goes wrong (ollama-api 4.5).
        self._too_long_status, self._no_embeddings_status = (500, 500) if is_legacy else (400, 501)
        self._batches = batches(inputs.texts)
        self._waiting = 0  # texts that vLLM has not answered yet, of the batch on its way
        self._raw: deque[str] = deque()  # vectors that are not written yet
        self._vectors: list[bytes] = []
        self._size = 0
        self._tokens = 0
        self._dispatched_ns = 0
        self._is_writing = False

    def begin(self) -> None:
        """Send the first batch."""
        self._dispatched_ns = time.monotonic_ns()
        self._send_next()

    def _send_next(self) -> None:
        batch = next(self._batches, None)
        self._waiting = len(batch or ())
        if batch is None:
            return
        settings = self._backend.settings
        self._exchange.call = fetch(
            self._backend.upstream,
            b"POST",
            EMBEDDINGS_PATH,
            self._answered,
            settings.answer_timeout_s,
            body=to_vllm_body(settings.served_model, batch, self._inputs),
            headers=b"X-Request-Id: %b\r\n" % self._exchange.request_id.encode(),
        )

    def _answered(self, answer: Fetched) -> None:
        if self._exchange.is_over:
            return
        if not answer.is_ok:
            self._refuse(answer)
            return
        try:
            decoded = _decode(answer.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._exchange.respond_error(502, f"vLLM sent no embeddings: {error}")
            return
        if len(decoded.data) != self._waiting:
            message = f"vLLM sent {len(decoded.data)} embeddings for {self._waiting} texts"
            self._exchange.respond_error(502, message)
            return
        self._raw.extend(entry.embedding for entry in sorted(decoded.data, key=lambda entry: entry.index))
        self._tokens += decoded.usage.prompt_tokens
        self._send_next()
        if not self._is_writing:
            self._is_writing = True
            self._write_some()

    def _write_some(self) -> None:
        """Write out a few vectors, then let others do something."""
        if self._exchange.is_over:
            return
        numbers = 0
        try:
            while self._raw and numbers < _NUMBERS_AT_ONCE:
                vector = from_base64(self._raw.popleft())
                numbers += len(vector)
                text = self._write(vector)
                self._vectors.append(text)
                self._size += len(text)
        except BadVector as error:
            self._give_up(500, str(error))
            return
        if self._size / len(self._vectors) * len(self._inputs.texts) > _MAX_ANSWER_BYTES:
            self._give_up(413, f"the embeddings would be larger than {_MAX_ANSWER_BYTES} bytes; send fewer at once")
        elif self._raw:
            asyncio.get_running_loop().call_soon(self._write_some)
        elif self._waiting:
            self._is_writing = False
        else:
            self._done(self._vectors, self._tokens, self._dispatched_ns)

    def _give_up(self, status: int, message: str) -> None:
        if self._exchange.call is not None:
            self._exchange.call.abort()
        self._exchange.respond_error(status, message)

    def _refuse(self, answer: Fetched) -> None:
        if _is_too_long(answer):
            self._exchange.respond_error(self._too_long_status, TOO_LONG)
            return
        if _has_no_route(answer):
            self._exchange.respond_error(self._no_embeddings_status, NO_EMBEDDINGS)
            return
        found = refusal(answer, self._backend.settings.served_model)
        self._exchange.respond_error(found.status, found.message, found.headers)


def _has_no_route(answer: Fetched) -> bool:
    """Whether vLLM does not embed at all: then it has no such route (0.32.0: 404 in FastAPI's own shape)."""
    return answer.status == 404 and b'"detail"' in answer.body


def _is_too_long(answer: Fetched) -> bool:
    """Whether vLLM says that a text does not fit (0.32.0: status 400, parameter input_tokens)."""
    return answer.status == 400 and b"maximum context length" in answer.body
