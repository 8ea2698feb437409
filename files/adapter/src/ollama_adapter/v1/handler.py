"""`/v1/*`: requests of OpenAI's and Anthropic's clients.

As in Ollama these routes are a translation: the request becomes one of `/api/*`, is checked and answered as such, and a
writer of the route's own writes the answer. So a name is echoed as the client wrote it, and errors have Ollama's words.
The Authorization header, which these clients always send, is nobody's business here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ..go.decode import MAX_TOP_LOGPROBS
from ..http.error_shapes import ANTHROPIC, OPENAI
from ..http.exchange import Exchange
from ..models.catalogue import OwnModel, Residency
from ..models.requests import ModelRequest, unknown_model
from ..ollama.lines import AnswerWriter
from ..ollama.requests import TextRequest
from ..ollama.text import TextHandler
from .chat import ChatWriter, read_chat
from .completions import CompletionWriter, read_completion
from .embeddings import embed, read_embeddings
from .messages import read_messages
from .messages_answer import MessagesWriter
from .responses import read_responses
from .responses_answer import ResponsesWriter
from .systemone import decide, read_decision

# What Ollama adds to the head where a stream is asked for, even if an error comes of it.
_STREAM_HEADERS = [(b"Cache-Control", b"no-cache"), (b"Connection", b"keep-alive")]


class V1Handler:
    """Answers the routes whose body names a model."""

    def __init__(self, text: TextHandler, residency: Residency) -> None:
        """:param text: generates and chats."""
        self._text = text
        self._residency = residency

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        answers: dict[str, Callable[[Exchange, ModelRequest], None]] = {
            "v1_chat": self._chat,
            "v1_completions": self._completion,
            "v1_responses": self._responses,
            "v1_messages": self._messages,
            "v1_embeddings": self._embeddings,
            "v1_systemone": self._systemone,
        }
        answers[request.action](exchange, request)

    def used(self, own: OwnModel, keep_alive_s: float | None = None) -> None:
        """A model has been used."""
        self._residency.use(own, time.time(), own.backend.keep_alive_s if keep_alive_s is None else keep_alive_s)

    # Text

    def _chat(self, exchange: Exchange, request: ModelRequest) -> None:
        chat = read_chat(request.decoded)
        exchange.error_shape = OPENAI
        self._generate(exchange, request, chat.text, ChatWriter(request.name, includes_usage=chat.includes_usage))

    def _completion(self, exchange: Exchange, request: ModelRequest) -> None:
        asked = read_completion(request.decoded)
        exchange.error_shape = OPENAI
        writer = CompletionWriter(request.name, includes_usage=asked.includes_usage)
        self._generate(exchange, request, asked.text, writer)

    def _responses(self, exchange: Exchange, request: ModelRequest) -> None:
        asked = read_responses(request.decoded)
        writer = ResponsesWriter(request.name, asked.fields)
        exchange.error_shape = replace(OPENAI, event=writer.failed)
        if asked.text.stream:
            exchange.extra_headers += _STREAM_HEADERS
        self._generate(exchange, request, asked.text, writer)

    def _messages(self, exchange: Exchange, request: ModelRequest) -> None:
        asked = read_messages(request.decoded)
        exchange.error_shape = ANTHROPIC
        if asked.text.stream:
            exchange.extra_headers += _STREAM_HEADERS
        # Clients such as Claude Code ask every model to think; Ollama lets those that cannot do without.
        if request.own is not None and not request.own.can("thinking"):
            asked.text.think = None
        writer = MessagesWriter(request.name, estimated_tokens=asked.estimated_tokens)
        self._generate(exchange, request, asked.text, writer)

    def _generate(self, exchange: Exchange, request: ModelRequest, text: TextRequest, writer: AnswerWriter) -> None:
        if not 0 <= text.top_logprobs <= MAX_TOP_LOGPROBS:
            exchange.respond_error(400, f"top_logprobs must be between 0 and {MAX_TOP_LOGPROBS}")
        elif request.own is None:
            exchange.respond_error(*unknown_model(text.kind, request.name))
        else:
            self._text.generate(exchange, text, request.own, writer)

    # Everything else

    def _embeddings(self, exchange: Exchange, request: ModelRequest) -> None:
        asked = read_embeddings(request.decoded)
        exchange.error_shape = OPENAI
        own = request.own
        if own is None:
            exchange.respond_error(*unknown_model("embed", request.name))
        else:
            embed(exchange, asked, own, lambda: self.used(own))

    def _systemone(self, exchange: Exchange, request: ModelRequest) -> None:
        asked = read_decision(request.decoded)
        exchange.error_shape = OPENAI
        own = request.own
        if own is None:
            exchange.respond_error(*unknown_model("chat", request.name))
        else:
            decide(exchange, asked, own, lambda: self.used(own, asked.keep_alive_s))
