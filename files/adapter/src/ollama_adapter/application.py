"""What is done with a request: guards, routes, and who answers for which model."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import routes
from .access_log import AccessLog
from .catalogue import Catalogue, OwnModel, Residency
from .exchange import BufferedBody, DiscardedBody, Exchange
from .generation import RETRY_AFTER, Generation, Vllm
from .go_decode import Reading
from .go_json import BadBody, decode, quote
from .guards import Origins, allows_host, is_loopback, is_same_origin
from .listing import Listing, to_json
from .names import InvalidName, parse
from .options import BadOption
from .passing import Passing, peek_model
from .ready import check_ready
from .requests import BadFormat, Kind, TextRequest, model_of, read_text_request
from .settings import Settings
from .small_requests import embed_with_text_model, pull, read_fields
from .times import Stamps
from .upstream import Limits, Upstream

_PEEK_AT_BYTES = (8_192, 131_072, 1_048_576)


class Application:
    """The adapter behind its connections."""

    def __init__(self, settings: Settings, log: AccessLog) -> None:
        self._settings = settings
        self._log = log
        vllm, vision = settings.vllm, settings.vision
        self.catalogue = Catalogue(settings)
        self.vllm_upstream = Upstream("vLLM", vllm.url, vllm.connect_timeout_s, authorization=_key(vllm.api_key_file))
        self.vision_upstream = Upstream("Ollama Vision", vision.url, vision.connect_timeout_s) if vision.url else None
        self._residency = Residency()
        self._vllm = Vllm(self.vllm_upstream, vllm, self.catalogue.text_model)
        self._listing = Listing(self.catalogue, self._residency, self.vision_upstream, vision)
        self._vision_limits = Limits(vision.chunk_timeout_s, vision.chunk_timeout_s)
        self._origins = Origins(settings.server.origins)
        self._guards_host = True
        leniency = settings.leniency
        self._reading = Reading(
            string_arguments=leniency.string_arguments,
            data_uri_images=leniency.data_uri_images,
            content_parts=leniency.content_parts,
        )
        self._stamps = Stamps()
        self._version = to_json({"version": settings.server.ollama_version})
        self._simple: dict[str, Callable[[Exchange], None]] = {
            "root": lambda exchange: exchange.respond(200, b"Ollama is running", b"text/plain; charset=utf-8"),
            "health": lambda exchange: exchange.respond(200, b'{"status":"ok"}'),
            "ready": self._ready,
            "version": lambda exchange: exchange.respond(200, self._version),
            "status": lambda exchange: exchange.respond(200, b'{"cloud":{"disabled":true,"source":"env"}}'),
            "tags": self._listing.tags,
            "ps": self._listing.ps,
        }

    def will_listen_on(self, addresses: Iterable[str]) -> None:
        """Where clients come in: only a server that is on loopback alone asks for a local Host header."""
        self._guards_host = all(is_loopback(address) for address in addresses)

    def sweep(self, now: float) -> None:
        """Called once a second."""
        self.vllm_upstream.sweep(now)
        if self.vision_upstream is not None:
            self.vision_upstream.sweep(now)

    def close(self) -> None:
        """End the upstream connections."""
        self.vllm_upstream.close()
        if self.vision_upstream is not None:
            self.vision_upstream.close()

    # Called by the connections

    def begin(self, exchange: Exchange) -> None:
        """A head has come."""
        exchange.extra_headers = [(b"X-Request-Id", exchange.request_id.encode())]
        found = self._turned_away(exchange) or routes.find(exchange.head.method, exchange.head.path)
        if isinstance(found, routes.Fallback):
            answer = found
            exchange.receiver = DiscardedBody(
                exchange, lambda: exchange.respond(answer.status, answer.body, answer.content_type, answer.headers)
            )
        elif found.action in self._simple:
            handler = self._simple[found.action]
            exchange.receiver = DiscardedBody(exchange, lambda: handler(exchange))
        else:
            self._read_model_request(exchange, found.action)

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over."""
        self._log.write(exchange)

    # Guards

    def _turned_away(self, exchange: Exchange) -> routes.Fallback | None:
        """The answer of the guards: to whom is not let in, and to a browser that only asks; None for everybody else."""
        head = exchange.head
        host = head.header(b"host")
        if self._guards_host and not allows_host(host):
            return routes.Fallback(403, b"", b"")
        origin = head.header(b"origin")
        if not origin or is_same_origin(origin, host):
            return None
        allow = routes.allowed_methods(head.path)
        is_preflight = head.method == "OPTIONS"
        allow_header = ((b"Allow", allow.encode()),) if is_preflight and allow else ()
        if not self._origins.allows(origin):
            return routes.Fallback(403, b"", b"", allow_header)
        if is_preflight:
            return routes.Fallback(204, b"", b"", (*self._origins.preflight_headers(origin), *allow_header))
        exchange.extra_headers += self._origins.answer_headers(origin)
        return None

    # Requests that name a model

    def _read_model_request(self, exchange: Exchange, action: str) -> None:
        def complete(body: bytes) -> None:
            try:
                self._answer(exchange, action, body)
            except BadBody as error:
                exchange.respond_error(400, str(error))

        exchange.read_body(self._settings.server.max_body_bytes, complete)
        receiver = exchange.receiver
        if isinstance(receiver, BufferedBody) and self.vision_upstream is not None and not exchange.is_over:
            exchange.receiver = _Peeking(receiver, lambda start: self._pass_early(exchange, start))

    def _pass_early(self, exchange: Exchange, body_start: bytes) -> bool:
        name = peek_model(body_start)
        if name is None or self.vision_upstream is None or not self.catalogue.is_on_vision(name):
            return False
        exchange.model = name
        Passing(exchange, self.vision_upstream, self._vision_limits).send_streaming(body_start)
        return True

    def _answer(self, exchange: Exchange, action: str, body: bytes) -> None:
        decoded = decode(body)
        name = model_of(decoded, *routes.MODEL_FIELDS[action]) or ""
        exchange.model = name
        own = self.catalogue.own(name)
        if own is not None:
            self._answer_own(exchange, action, body, decoded, own)
            return

        def unknown() -> None:
            try:
                self._answer_unknown(exchange, action, body, decoded, name)
            except BadBody as error:
                exchange.respond_error(400, str(error))

        def listed(_: object) -> None:
            if self.catalogue.is_on_vision(name):
                self._pass_on(exchange, body)
            else:
                unknown()

        if self.catalogue.is_on_vision(name):
            self._pass_on(exchange, body)
        elif name and _is_valid(name) and self.vision_upstream is not None:
            self._listing.ask_vision("/api/tags", listed)
        else:
            unknown()

    def _pass_on(self, exchange: Exchange, body: bytes) -> None:
        assert self.vision_upstream is not None
        Passing(exchange, self.vision_upstream, self._vision_limits).send_whole(body)

    def _answer_own(self, exchange: Exchange, action: str, body: bytes, decoded: Any, own: OwnModel) -> None:
        exchange.backend = "vllm"
        if action in ("generate", "chat"):
            top_level = self._settings.leniency.top_level_options
            kind: Kind = "generate" if action == "generate" else "chat"
            self._text(exchange, read_text_request(kind, body, self._reading, top_level=top_level), own)
            return
        fields = read_fields(action, decoded)
        if action == "show":
            self._listing.show(exchange, own, fields)
        elif action in ("embed", "embeddings"):
            embed_with_text_model(exchange, action, quote(exchange.model), fields)
        elif action == "pull":
            pull(exchange, fields, is_served=True)
        else:
            path = exchange.head.path
            exchange.respond_error(501, f"{path} is not available for {exchange.model!r}, which is served by vLLM")

    def _answer_unknown(self, exchange: Exchange, action: str, body: bytes, decoded: Any, name: str) -> None:
        """The errors of ollama-api 2.4. Wrong types come first: Ollama decodes before it looks for a model."""
        if action in ("generate", "chat"):
            read_text_request("generate" if action == "generate" else "chat", body, self._reading, top_level=False)
        fields = read_fields(action, decoded)
        if action == "pull" and _is_valid(name):
            pull(exchange, fields, is_served=False)
        else:
            status, message = unknown_model(action, name)
            exchange.respond_error(status, message)

    def _text(self, exchange: Exchange, request: TextRequest, own: OwnModel) -> None:
        keep_alive = self.catalogue.default_keep_alive_s if request.keep_alive_s is None else request.keep_alive_s

        def used() -> None:
            self._residency.use(own, time.time(), keep_alive)

        problem = reason_to_refuse(request, own, self._vllm.model.can)
        if request.is_empty and request.keep_alive_s == 0:
            used()
            self._loaded(exchange, request, "unload")
        elif problem:
            exchange.respond_error(400, problem)
        elif request.is_empty:

            def checked(trouble: str) -> None:
                if trouble:
                    exchange.respond_error(503, f"{trouble}; the model is not loaded yet, try again", [RETRY_AFTER])
                else:
                    used()
                    self._loaded(exchange, request, "load")

            check_ready(self.vllm_upstream, self._settings.vllm.served_model, checked)
        else:
            try:
                request.check_options()
                Generation(exchange, request, self._vllm, used).begin()
            except (BadOption, BadFormat) as error:
                exchange.respond_error(500, str(error))

    def _loaded(self, exchange: Exchange, request: TextRequest, done_reason: str) -> None:
        empty: dict[str, Any] = {"response": ""}
        if request.kind == "chat":
            empty = {"message": {"role": "assistant", "content": ""}}
        stamp = self._stamps.now().decode()
        answer = {"model": request.model, "created_at": stamp, **empty, "done": True, "done_reason": done_reason}
        exchange.respond(200, to_json(answer))

    def _ready(self, exchange: Exchange) -> None:
        def answer(trouble: str) -> None:
            if trouble:
                exchange.respond_error(503, trouble, [RETRY_AFTER])
            else:
                exchange.respond(200, b'{"status":"ready"}')

        check_ready(self.vllm_upstream, self._settings.vllm.served_model, answer)


class _Peeking:
    """Collects a body, and looks now and then whether its beginning says that it can be passed on already."""

    def __init__(self, buffered: BufferedBody, pass_on: Callable[[bytes], bool]) -> None:
        self._buffered = buffered
        self._pass_on = pass_on
        self._looks = list(_PEEK_AT_BYTES)

    def body_piece(self, data: bytes) -> None:
        """More of the body."""
        self._buffered.body_piece(data)
        if self._looks and self._buffered.size >= self._looks[0]:
            self._looks = [size for size in self._looks if size > self._buffered.size]
            self._pass_on(self._buffered.so_far())

    def body_end(self) -> None:
        """The body is complete."""
        self._buffered.body_end()


def reason_to_refuse(request: TextRequest, own: OwnModel, can: Callable[[str], bool]) -> str | None:
    """Why a request for text is a 400, in Ollama's order (ollama-api 4.1); None where it is none."""
    if request.kind == "generate":
        if request.raw and (request.template or request.system or request.context):
            return "raw mode does not support template, system, or context"
        if request.suffix and not can("insert"):
            return f"{own.name.full} does not support insert"
    if request.tools and not can("tools"):
        return f"{own.name.full} does not support tools"
    if request.think not in (None, False) and not can("thinking"):
        return f'"{request.model}" does not support thinking'
    if request.template:
        return "template is not supported: vLLM renders the model's own chat template (raw takes a prompt as it is)"
    return None


def unknown_model(action: str, name: str) -> tuple[int, str]:
    """Status and message for a model that nobody serves (ollama-api 2.4)."""
    if not name:
        if action in ("generate", "embed"):
            return 404, "model '' not found"
        if action == "copy":
            return 400, 'source "" is invalid'
        return 400, "invalid model name" if action in ("pull", "create") else "model is required"
    if not _is_valid(name):
        if action in ("copy", "delete"):
            return 400, f'{"source" if action == "copy" else "name"} "{name}" is invalid'
        return 400, "invalid model name"
    if action in ("embed", "embeddings"):
        return 404, f'model "{name}" not found, try pulling it first'
    if action == "copy":
        return 404, f'model "{name}" not found'
    return 404, f"model '{parse(name).display if action == 'show' else name}' not found"


def _is_valid(name: str) -> bool:
    try:
        parse(name)
    except InvalidName:
        return False
    return True


def _key(path: str) -> bytes:
    return Path(path).read_bytes().strip() if path else b""
