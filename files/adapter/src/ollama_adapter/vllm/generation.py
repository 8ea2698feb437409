"""Answers of vLLM's model: the request goes to vLLM, the answer comes back as Ollama's, streamed or whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import msgspec

from ..http.exchange import Exchange
from ..models.backend import Backend
from ..ollama.lines import AnswerWriter, LineWriter, Timings
from ..ollama.requests import TextRequest
from ..upstream.client import Failure, Limits
from ..upstream.fetching import Fetched, fetch
from ..upstream.sse import SseDecoder
from .answers import STOPPED_BY_VLLM, AnswerStream, BadUpstreamAnswer, WholeAnswer
from .collecting import CollectingWriter
from .frames import Usage, error_text
from .stops import most_stops
from .to_vllm import TOKENIZE_PATH, VllmRequest, continuation, to_vllm, tokenize_prompt, tokenize_text

BUSY = "server busy, please try again.  maximum pending requests exceeded"
# What vLLM answers with status 500 while its engine dies or drains (0.32.0, measured): it will be back.
GOING_DOWN = ("EngineCore encountered an issue", "cannot schedule new futures after shutdown")
NO_MULTIMODAL = (
    '{"error":{"code":400,"message":"Multimodal data provided, but model does not support multimodal requests.",'
    '"type":"invalid_request_error"}}'
)
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
_TOKENIZE_TIMEOUT_S = 10.0
RETRY_AFTER = (b"Retry-After", b"5")


class Generation:
    """One request for text. It is the sink of vLLM's answer."""

    def __init__(
        self,
        exchange: Exchange,
        request: TextRequest,
        backend: Backend,
        done: Callable[[], None],
        writer: AnswerWriter | None = None,
    ) -> None:
        """
        :param done: called when the answer is complete: the model was in use until now.
        :param writer: writes the answer, in the shape of `/api/*` if not given.
        """
        self._exchange = exchange
        self._request = request
        self._backend = backend
        self._done = done
        self._writer = writer or LineWriter(request.kind, request.model)
        self._timings = Timings(exchange.received_ns)
        self._wants_context = self._writer.keeps_context and not request.raw and backend.settings.context != "off"
        self._again: Callable[[], VllmRequest] | None = None  # makes the request anew, once
        self._is_streamed = request.stream
        self._is_streaming = False
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._sse = SseDecoder()
        self._stream = AnswerStream(request, self._writer, backend.stamps, self._timings, collect=self._wants_context)

    def begin(self) -> None:
        """Send the request to vLLM.

        :raises BadFormat: `format` is neither "json" nor a schema.
        """
        if self._request.has_images and not (self._backend.can("vision") or self._backend.can("audio")):
            self._exchange.respond_error(400, NO_MULTIMODAL)
        elif self._request.context and not self._request.raw:
            self._request.response_format()  # a bad one is refused before anything is sent
            self._tokenize(tokenize_prompt(self._request, self._backend.model), self._continue)
        else:
            self._send_first(lambda: to_vllm(self._request, self._backend.model, token_ids=self._wants_context))

    def _send_first(self, make: Callable[[], VllmRequest]) -> None:
        self._again = make
        self._send(make())

    def _send(self, request: VllmRequest) -> None:
        settings = self._backend.settings
        limits = Limits(settings.first_byte_timeout_s, settings.chunk_timeout_s)
        if not self._request.stream:
            limits = Limits(settings.answer_timeout_s, settings.answer_timeout_s)
        if request.stops:
            self._is_streamed = True
            writer = self._writer if self._request.stream else CollectingWriter(self._writer)
            self._stream = AnswerStream(
                self._request, writer, self._backend.stamps, self._timings, collect=self._wants_context
            )
            self._stream.look_for(request.stops)
        self._timings.dispatched = time.monotonic_ns()
        headers = b"Content-Type: application/json\r\nX-Request-Id: %b\r\n" % self._exchange.request_id.encode()
        upstream = self._backend.upstream
        self._exchange.call = upstream.send(b"POST", request.path, self, limits, headers=headers, body=request.body)

    # The sink of vLLM's answer

    def started(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The head: from here on it is known whether this is an answer or an error."""
        self._status = status
        self._is_streaming = status == 200 and self._is_streamed
        if self._is_streaming and self._request.stream:
            self._exchange.start(200, self._writer.stream_type)

    def piece(self, data: bytes) -> None:
        """More of the answer. This is the hot path: one call per token when tokens come one at a time."""
        if not self._is_streaming:
            self._size += len(data)
            self._pieces.append(data)
            if self._size > _MAX_ANSWER_BYTES:
                self._give_up("vLLM's answer is too large")
            return
        stream = self._stream
        lines = []
        try:
            for payload in self._sse.feed(data):
                line = stream.feed(payload)
                if line:
                    lines.append(line)
                if stream.error or stream.is_done:
                    break
        except ValueError as error:
            stream.error = f"vLLM sent {error}"
        self._exchange.send_lines(separate_events(lines) if self._writer.splits_events else lines)
        if stream.error:
            self._give_up(stream.error)
        elif stream.is_stopped and self._exchange.call is not None:  # None where the client has gone
            self._exchange.call.abort()
            self.ended()

    def ended(self) -> None:
        """vLLM has sent everything."""
        body = b"".join(self._pieces)
        if self._status != 200:
            self._refused(body)
        elif not self._is_streamed:
            self._whole(body)
        elif not self._stream.is_done:
            self._give_up(STOPPED_BY_VLLM)
        else:
            text = b"".join(self._stream.escaped_text)
            ids = b",".join(filter(None, self._stream.answer_ids))
            self._with_context(self._stream.prompt_ids, text, ids, self._finish_stream)

    def failed(self, failure: Failure) -> None:
        """No answer, or not all of it."""
        if failure.is_unreachable:
            message = f"{failure.reason}; vLLM is starting or stopped, try again"
            self._exchange.respond_error(503, message, [RETRY_AFTER])
        else:
            self._exchange.respond_error(503, failure.reason, [RETRY_AFTER])

    def writable(self, is_writable: bool) -> None:
        """The requests are sent whole."""

    # Endings

    def _finish_stream(self, context: bytes) -> None:
        self._count(self._stream.usage)
        self._done()
        last = self._stream.last_line(context)
        if not self._request.stream:
            self._exchange.respond(200, last, self._writer.whole_type)
            return
        if self._writer.splits_events:
            *lines, last = separate_events([last])
            self._exchange.send_lines(lines)
        self._exchange.finish(last)

    def _whole(self, body: bytes) -> None:
        try:
            answer = WholeAnswer(body, self._request, self._writer, self._timings)
        except BadUpstreamAnswer as error:
            self._exchange.respond_error(500, str(error))
            return

        def respond(context: bytes) -> None:
            self._count(answer.usage)
            self._done()
            self._exchange.respond(200, answer.body(self._backend.stamps.now, context), self._writer.whole_type)

        self._with_context(answer.prompt_ids, answer.escaped_text, answer.answer_ids, respond)

    def _refused(self, body: bytes) -> None:
        """vLLM answered with an error: its message is kept, its status where it says something about the request."""
        message = error_text(body) or body[:1000].decode("utf-8", "replace").strip() or f"status {self._status}"
        most = most_stops(message)
        if most is not None and self._again is not None:
            self._backend.takes_stops(most)
            again, self._again = self._again, None
            self._pieces, self._size = [], 0
            self._send(again())
        elif self._status == 503:
            self._exchange.respond_error(503, BUSY, [RETRY_AFTER])
        elif self._status == 500 and any(text in message for text in GOING_DOWN):
            self._exchange.respond_error(503, f"vLLM is going down and will be started again: {message}", [RETRY_AFTER])
        elif self._status == 404:
            served = self._backend.settings.served_model
            text = f"vLLM does not serve {served!r} (vllm.served_model): {message}"
            self._exchange.respond_error(503, text, [RETRY_AFTER])
        elif self._status in (401, 403):
            self._exchange.respond_error(502, f"vLLM refused the adapter's key (vllm.api_key_file): {message}")
        elif "--enable-auto-tool-choice" in message or "tool-call-parser" in message:
            self._exchange.respond_error(400, f"{self._request.model} does not support tools: {message}")
        else:
            self._exchange.respond_error(self._status if 400 <= self._status <= 599 else 502, message)

    def _give_up(self, message: str) -> None:
        if self._exchange.call is not None:
            self._exchange.call.abort()
        self._exchange.respond_error(500, message)

    def _count(self, usage: Usage) -> None:
        self._exchange.prompt_tokens = usage.prompt_tokens
        self._exchange.output_tokens = usage.completion_tokens or 0

    # Token ids

    def _with_context(
        self, prompt_ids: list[int], text: bytes, answer_ids: bytes, done: Callable[[bytes], None]
    ) -> None:
        """Find out the ids of prompt and answer, as Ollama gives them: without what the tokenizer puts in front, and
        with the answer's text tokenized anew. Where that call fails, the generated ids do."""
        if not self._wants_context or not prompt_ids:
            done(b"")
            return

        def joined(ids: bytes) -> bytes:
            front = self._backend.first_tokens or []
            kept = prompt_ids[len(front) :] if prompt_ids[: len(front)] == front else prompt_ids
            return b",".join(filter(None, (",".join(map(str, kept)).encode(), ids)))

        def with_front(_: list[int] | None) -> None:
            if self._backend.settings.context == "generated" or not text or self._backend.model.can("thinking"):
                done(joined(answer_ids))
            else:
                body = tokenize_text(self._backend.model, text, special=False)
                self._tokenize(body, lambda ids: done(joined(answer_ids if ids is None else _join(ids))))

        self._ask_first_tokens(with_front)

    def _ask_first_tokens(self, done: Callable[[list[int] | None], None]) -> None:
        if self._backend.first_tokens is not None:
            done(self._backend.first_tokens)
            return

        def keep(ids: list[int] | None) -> None:
            self._backend.first_tokens = ids
            done(ids)

        self._tokenize(tokenize_text(self._backend.model, b"", special=True), keep)

    def _tokenize(self, body: bytes, done: Callable[[list[int] | None], None]) -> None:
        def tokens(answer: Fetched) -> None:
            if answer.is_unreachable and not self._exchange.is_started:
                self.failed(Failure(answer.reason, is_unreachable=True))
                return
            try:
                decoded = msgspec.json.decode(answer.body, type=dict[str, object]) if answer.is_ok else {}
            except (msgspec.DecodeError, UnicodeDecodeError):
                decoded = {}
            ids = decoded.get("tokens")
            done(ids if isinstance(ids, list) else None)

        upstream = self._backend.upstream
        self._exchange.call = fetch(upstream, b"POST", TOKENIZE_PATH, tokens, _TOKENIZE_TIMEOUT_S, body=body)

    def _continue(self, prompt_ids: list[int] | None) -> None:
        """Go on after `context`: its ids stand between what the tokenizer puts in front and the new prompt."""
        if prompt_ids is None:
            self._exchange.respond_error(500, "vLLM could not tokenize the prompt")
            return
        ids = prompt_ids

        def send(front: list[int] | None) -> None:
            front = front or []
            rest = ids[len(front) :] if ids[: len(front)] == front else ids
            whole = [*front, *self._request.context, *rest]
            self._send_first(lambda: continuation(self._request, self._backend.model, whole))

        self._ask_first_tokens(send)


def separate_events(lines: Iterable[bytes]) -> list[bytes]:
    """Server-sent events one by one, where a line has several. JSON never contains a raw line break."""
    return [event + b"\n\n" for line in lines for event in line.split(b"\n\n")[:-1]]


def _join(ids: list[int]) -> bytes:
    return ",".join(map(str, ids)).encode()
