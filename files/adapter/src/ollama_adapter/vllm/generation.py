"""Answers of vLLM's model: the request goes to vLLM, the answer comes back as Ollama's, streamed or whole."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from ..http.exchange import Exchange
from ..models.backend import Backend
from ..ollama.lines import AnswerWriter, LineWriter, Timings
from ..ollama.requests import TextRequest
from ..upstream.client import Failure, Limits
from ..upstream.sse import SseDecoder
from .answers import STOPPED_BY_VLLM, AnswerStream, BadUpstreamAnswer, WholeAnswer
from .collecting import CollectingWriter
from .fitting import Fitted, Fitting, needs_counting
from .frames import Usage, error_text, is_overflow
from .generated_ids import context_of
from .leaving import is_going_down, told
from .stops import most_stops
from .thoughts import OPENING, ThoughtSplitter
from .to_vllm import TextModel, VllmRequest, from_ids, text_prompt, to_vllm
from .token_calls import TokenCalls

BUSY = "server busy, please try again.  maximum pending requests exceeded"
# What vLLM answers with status 500 while its engine dies or drains (0.32.0, measured): it will be back.
NO_MULTIMODAL = (
    '{"error":{"code":400,"message":"Multimodal data provided, but model does not support multimodal requests.",'
    '"type":"invalid_request_error"}}'
)
# Of a picture with too many pixels vLLM says 500 (0.32.0, measured), as if it were its own fault.
_BAD_PICTURE = "decompression bomb"
_MAX_ANSWER_BYTES = 64 * 1024 * 1024
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
        self._is_fitted = False
        self._uncut_ids: list[int] | None = None
        self._wants_context = self._writer.keeps_context and not request.raw and backend.settings.context != "off"
        # Makes the request anew, once. It must not refer to this object: a cycle would hold the bodies.
        self._again: Callable[[TextModel], VllmRequest] | None = None
        self._is_streamed = request.stream
        self._is_streaming = False
        self._status = 0
        self._pieces: list[bytes] = []
        self._size = 0
        self._sse: SseDecoder  # these two only for a stream, once the request is sent
        self._stream: AnswerStream

    def begin(self) -> None:
        """Send the request to vLLM.

        :raises BadFormat: `format` is neither "json" nor a schema.
        :raises TemplateError: see `text_prompt`.
        """
        if self._request.has_images and not (self._backend.can("vision") or self._backend.can("audio")):
            self._exchange.respond_error(400, NO_MULTIMODAL)
            return
        self._request.response_format()  # a bad one is refused before anything is sent
        if leaving := self._backend.leaving.message:
            self._exchange.respond_error(503, told(leaving), [RETRY_AFTER])
            return
        has_context = bool(self._request.context) and not self._request.raw
        model = self._backend.model
        if has_context or needs_counting(self._request, model, text_prompt(self._request, model)):
            self._fit()
        else:
            self._send_first(partial(to_vllm, self._request, token_ids=self._wants_context))

    def _fit(self) -> None:
        """Count the prompt's tokens, and cut it where it is too long."""
        self._is_fitted = True

        def refuse(message: str) -> None:
            self._exchange.respond_error(400, message)

        Fitting(self._request, self._backend.model, self._token_calls(), self._send_fitted, refuse).begin()

    def _send_fitted(self, fitted: Fitted) -> None:
        self._uncut_ids = fitted.uncut_ids
        if fitted.prompt_ids is None:
            make = partial(to_vllm, fitted.request, token_ids=self._wants_context, room=fitted.room)
        else:
            make = partial(
                from_ids, fitted.request, prompt_ids=fitted.prompt_ids, token_ids=self._wants_context, room=fitted.room
            )
        self._send_first(make)

    def _send_first(self, make: Callable[[TextModel], VllmRequest]) -> None:
        self._again = make
        self._send(make(self._backend.model))

    def _token_calls(self) -> TokenCalls:
        return TokenCalls(self._exchange, self._backend, self.failed)

    def _send(self, request: VllmRequest) -> None:
        settings = self._backend.settings
        limits = Limits(settings.first_byte_timeout_s, settings.chunk_timeout_s)
        if not self._request.stream:
            limits = Limits(settings.answer_timeout_s, settings.answer_timeout_s)
        self._is_streamed = self._request.stream or bool(request.stops)
        if self._is_streamed:
            self._will_stream(request.stops)
        self._timings.dispatched = time.monotonic_ns()
        headers = b"Content-Type: application/json\r\nX-Request-Id: %b\r\n" % self._exchange.request_id.encode()
        upstream = self._backend.upstream
        self._exchange.call = upstream.send(b"POST", request.path, self, limits, headers=headers, body=request.body)

    def _will_stream(self, stops: Sequence[str]) -> None:
        writer = self._writer if self._request.stream else CollectingWriter(self._writer)
        self._sse = SseDecoder()
        self._stream = AnswerStream(
            self._request, writer, self._backend.stamps, self._timings, collect=self._wants_context
        )
        if stops:
            self._stream.look_for(stops)
        if self._backend.can("thinking"):
            self._stream.split_thoughts(self._splitter())

    def _splitter(self) -> ThoughtSplitter:
        request = self._request
        prompt = text_prompt(request, self._backend.model) if request.raw or request.template else None
        return ThoughtSplitter(is_open=(prompt or "").rstrip().endswith(OPENING))

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
            self._fail(str(error))
            return

        if self._backend.can("thinking"):
            answer.splitter = self._splitter()

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
            self._send(again(self._backend.model))
        elif self._status == 400 and is_overflow(message) and not self._is_fitted:
            self._pieces, self._size = [], 0
            self._fit()
        elif self._status == 503:
            self._exchange.respond_error(503, BUSY, [RETRY_AFTER])
        elif _BAD_PICTURE in message:
            self._exchange.respond_error(400, message)
        elif is_going_down(self._status, message):
            self._backend.leaving.noted(message)
            self._exchange.respond_error(503, told(message), [RETRY_AFTER])
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
        self._fail(message)

    def _fail(self, message: str) -> None:
        is_stopped = message == STOPPED_BY_VLLM  # not the request's fault: the next vLLM will answer it
        self._exchange.respond_error(503 if is_stopped else 500, message, [RETRY_AFTER] if is_stopped else [])

    def _count(self, usage: Usage) -> None:
        self._exchange.prompt_tokens = usage.prompt_tokens
        self._exchange.output_tokens = usage.completion_tokens or 0

    def _with_context(self, prompt_ids: list[int], text: bytes, ids: bytes, done: Callable[[bytes], None]) -> None:
        if self._wants_context and prompt_ids:
            context_of(self._backend, self._token_calls(), self._uncut_ids or prompt_ids, text, ids, done)
        else:
            done(b"")


def separate_events(lines: Iterable[bytes]) -> list[bytes]:
    """Server-sent events one by one, where a line has several. JSON never contains a raw line break."""
    return [event + b"\n\n" for line in lines for event in line.split(b"\n\n")[:-1]]
