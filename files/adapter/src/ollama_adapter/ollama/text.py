"""`/api/generate` and `/api/chat`: checks, loading and unloading, generation."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ..go.decode import Reading
from ..go.template_nodes import TemplateError
from ..http.exchange import Exchange
from ..models.catalogue import OwnModel, Residency
from ..models.presets import with_preset
from ..models.requests import ModelRequest, unknown_model
from ..settings import LeniencySettings
from ..upstream.client import Failure
from ..vllm.generation import BUSY, RETRY_AFTER, Generation
from ..vllm.ready import check_ready
from ..vllm.rendering import render
from ..vllm.token_calls import TokenCalls
from .embedding import does_not_generate
from .lines import AnswerWriter, Ending
from .listing import to_json
from .options import BadOption
from .requests import BadFormat, Kind, TextRequest, read_text_request
from .times import Stamps


class TextHandler:
    """Answers requests for text."""

    def __init__(self, leniency: LeniencySettings, residency: Residency) -> None:
        self._residency = residency
        self._top_level_options = leniency.top_level_options
        self._reading = Reading(
            string_arguments=leniency.string_arguments,
            data_uri_images=leniency.data_uri_images,
            content_parts=leniency.content_parts,
        )
        self._stamps = Stamps()

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        kind: Kind = "generate" if request.action == "generate" else "chat"
        # Wrong types come before an unknown model: Ollama decodes before it looks for one.
        text = read_text_request(kind, request.decoded, request.body, self._reading, top_level=self._top_level_options)
        if request.own is None:
            exchange.respond_error(*unknown_model(request.action, request.name))
        else:
            self.generate(exchange, text, request.own)

    def generate(
        self, exchange: Exchange, request: TextRequest, own: OwnModel, writer: AnswerWriter | None = None
    ) -> None:
        """Answer a request that has been read.

        :param writer: writes the answer, in the shape of `/api/*` if not given.
        """
        backend = own.backend
        keep_alive = backend.keep_alive_s if request.keep_alive_s is None else request.keep_alive_s

        def used() -> None:
            self._residency.use(own, time.time(), keep_alive)

        problem = reason_to_refuse(request, own, own.can)
        if request.is_empty and request.keep_alive_s == 0:
            used()
            self._loaded(exchange, request, writer, "unload")
        elif problem:
            exchange.respond_error(400, problem)
        elif request.is_empty:

            def checked(trouble: str) -> None:
                if trouble:
                    exchange.respond_error(503, f"{trouble}; the model is not loaded yet, try again", [RETRY_AFTER])
                else:
                    used()
                    self._loaded(exchange, request, writer, "load")

            check_ready(backend.upstream, backend.settings.served_model, checked)
        else:
            if backend.is_full:
                exchange.respond_error(503, BUSY, [RETRY_AFTER])
                return
            if own.preset is not None:
                request = with_preset(request, own.preset)
            try:
                request.check_options()
                if request.renders_only:
                    self._rendered(exchange, request, own)
                    return
                Generation(exchange, request, backend, used, writer).begin()
            except (BadOption, BadFormat, TemplateError) as error:
                exchange.respond_error(500, str(error))

    def _rendered(self, exchange: Exchange, request: TextRequest, own: OwnModel) -> None:
        """Answer with the prompt (`_debug_render_only`; recorded for generate)."""

        def failed(failure: Failure) -> None:
            exchange.respond_error(503, failure.reason, [RETRY_AFTER])

        def respond(prompt: str | None) -> None:
            if prompt is None:
                exchange.respond_error(500, "vLLM could not render the prompt")
                return
            pictures = len(request.images) + sum(len(message.get("images", ())) for message in request.messages)
            debug = {"rendered_template": prompt, **({"image_count": pictures} if pictures else {})}
            empty = {"message": {"role": "", "content": ""}} if request.kind == "chat" else {"response": ""}
            stamp = self._stamps.now().decode()
            answer = {"model": request.model, "created_at": stamp, **empty, "done": False, "_debug_info": debug}
            exchange.respond(200, to_json(answer))

        render(request, own.backend, TokenCalls(exchange, own.backend, failed), respond)

    def _loaded(self, exchange: Exchange, request: TextRequest, writer: AnswerWriter | None, done_reason: str) -> None:
        if writer is not None:
            if request.stream:
                exchange.respond(200, writer.end(b"", Ending(done_reason)), writer.stream_type)
            else:
                exchange.respond(200, writer.whole(b"", Ending(done_reason)), writer.whole_type)
            return
        empty: dict[str, Any] = {"response": ""}
        if request.kind == "chat":
            empty = {"message": {"role": "assistant", "content": ""}}
        stamp = self._stamps.now().decode()
        answer = {"model": request.model, "created_at": stamp, **empty, "done": True, "done_reason": done_reason}
        exchange.respond(200, to_json(answer))


def reason_to_refuse(request: TextRequest, own: OwnModel, can: Callable[[str], bool]) -> str | None:
    """Why a request for text is a 400, in Ollama's order (ollama-api 4.1); None where it is none."""
    if request.raw and (request.template or request.system or request.context):
        return "raw mode does not support template, system, or context"
    if problem := does_not_generate(request.kind, request.model, can):
        return problem
    if request.suffix and not can("insert"):
        return f"{own.name.full} does not support insert"
    if request.tools and not can("tools"):
        return f"{own.name.full} does not support tools"
    if request.think not in (None, False) and not can("thinking"):
        return f'"{request.model}" does not support thinking'
    if request.has_images and can("vision"):
        # Each of them makes a plain prompt, and a picture would get lost without a word.
        for name, given in (("raw", request.raw), ("template", request.template), ("context", request.context)):
            if given:
                return f"{name} does not work with images: vLLM takes them only through the model's own chat template"
    return None
