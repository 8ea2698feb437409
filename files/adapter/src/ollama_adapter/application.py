"""What is done with a request: guards, routes, and who answers for which model."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .go.json import BadBody, decode
from .http import error_shapes
from .http.answer import JSON
from .http.exchange import BufferedBody, DiscardedBody, Exchange
from .http.guards import Origins, allows_host, has_token, is_loopback, is_same_origin, token_of
from .models.catalogue import Catalogue, Residency
from .models.fact_finder import FactFinder
from .models.requests import Handler, ModelRequest, is_valid_name
from .models.virtual_models import VirtualModels, directory_of
from .models.virtual_store import VirtualStore
from .ollama import cloud, routes
from .ollama.blobs import Blobs
from .ollama.embedding import EmbeddingHandler
from .ollama.listing import Listing, to_json
from .ollama.passing import Passing, peek_model
from .ollama.requests import model_of
from .ollama.small_requests import PullHandler
from .ollama.text import TextHandler
from .ollama.virtual_requests import VirtualModelHandler
from .service.access_log import AccessLog
from .service.measuring import Measuring
from .service.metrics import Metrics
from .service.monitoring import Monitoring
from .service.peers import Peers, Place
from .settings import Settings
from .upstream.client import Limits, Upstream
from .v1.audio import Transcriptions, read_form
from .v1.handler import V1Handler
from .v1.models import ModelList
from .vllm.generation import RETRY_AFTER
from .vllm.ready import check_all, ready_answer

# Answered without a token: they tell nothing about anybody, and probes have none.
_OPEN = frozenset(("root", "health", "ready"))
_NO_TOKEN = routes.Fallback(401, JSON, error_shapes.error_body("unauthorized"), ((b"Www-Authenticate", b"Bearer"),))
_ALONE = Place()
_PEEK_AT_BYTES = (8_192, 131_072, 1_048_576)


class Application:
    """The adapter behind its connections."""

    def __init__(
        self,
        settings: Settings,
        log: AccessLog,
        place: Place = _ALONE,
        counts: Callable[[], tuple[int, int]] = lambda: (0, 0),
    ) -> None:
        """
        :param place: which of the processes on the port this is.
        :param counts: connections of clients, and requests that are being answered.
        """
        self._settings = settings
        self._log = log
        vision = settings.vision
        self.catalogue = Catalogue(settings)
        store = VirtualStore(directory_of(settings.server.state_directory, place))
        self._virtual_models = VirtualModels(self.catalogue, store)
        self._blobs = Blobs(self._virtual_models, settings.server.max_body_bytes)
        self._fact_finders = [FactFinder(backend) for backend in self.catalogue.backends]
        self.vision_upstream = Upstream("Ollama Vision", vision.url, vision.connect_timeout_s) if vision.url else None
        residency = Residency()
        self.peers = Peers(place, self._state)
        self._residency = residency
        self._listing = Listing(self.catalogue, residency, self.vision_upstream, vision, self.peers)
        self._vision_limits = Limits(vision.chunk_timeout_s, vision.chunk_timeout_s)
        self._origins = Origins(settings.server.origins)
        self._guards_host = True
        self._version = to_json({"version": settings.server.ollama_version})
        upstreams = [
            (upstream, b"/health") for backend in self.catalogue.backends for upstream in backend.upstream.upstreams
        ]
        if self.vision_upstream is not None:
            upstreams.append((self.vision_upstream, b"/api/version"))
        metrics = Metrics()
        self._measuring = Measuring(metrics, self.catalogue.label)
        self._monitoring = Monitoring(metrics, upstreams, self.peers, counts)
        self._token = token_of(settings.server.token_file)
        self._simple: dict[str, Callable[[Exchange], None]] = {
            "root": lambda exchange: exchange.respond(200, b"Ollama is running", b"text/plain; charset=utf-8"),
            "health": lambda exchange: exchange.respond(200, b'{"status":"ok"}'),
            "ready": self._ready,
            "metrics": self._monitoring.answer,
            "version": lambda exchange: exchange.respond(200, self._version),
            "status": lambda exchange: exchange.respond(200, b'{"cloud":{"disabled":true,"source":"env"}}'),
            "tags": self._listing.tags,
            "ps": self._listing.ps,
            "blob": self._blobs.exists,
            "me": cloud.me,
            "sign_out": cloud.sign_out,
            "web_search": cloud.switched_off("web search"),
            "web_fetch": cloud.switched_off("web fetch"),
            "recommendations": cloud.recommendations(self.catalogue),
        }
        text = TextHandler(settings.leniency, residency)
        embedding = EmbeddingHandler(residency)
        virtual = VirtualModelHandler(self.catalogue, self._virtual_models)
        v1 = V1Handler(text, residency)
        self._transcriptions = Transcriptions(v1.used)
        models = ModelList(self.catalogue, self._listing, self._pass_on)
        self._simple |= {"v1_models": models.all, "v1_model": models.one}
        self._handlers: dict[str, Handler] = {
            "generate": text,
            "chat": text,
            "show": self._listing,
            "embed": embedding,
            "embeddings": embedding,
            "pull": PullHandler(),
            "push": virtual,
            "create": virtual,
            "copy": virtual,
            "delete": virtual,
            "v1_chat": v1,
            "v1_completions": v1,
            "v1_embeddings": v1,
            "v1_responses": v1,
            "v1_messages": v1,
            "v1_systemone": v1,
        }

    def will_listen_on(self, addresses: Iterable[str]) -> None:
        """Where clients come in: only a server that is on loopback alone asks for a local Host header."""
        self._guards_host = all(is_loopback(address) for address in addresses)

    def sweep(self, now: float) -> None:
        """Called once a second."""
        for backend in self.catalogue.backends:
            backend.upstream.sweep(now)
            backend.leaving.sweep()
        for finder in self._fact_finders:
            finder.sweep(now)
        if self.vision_upstream is not None:
            self.vision_upstream.sweep(now)

    def close(self) -> None:
        """End the upstream connections."""
        self._virtual_models.close()
        for finder in self._fact_finders:
            finder.close()
        for backend in self.catalogue.backends:
            backend.upstream.close()
        if self.vision_upstream is not None:
            self.vision_upstream.close()

    # Called by the connections

    def begin(self, exchange: Exchange) -> None:
        """A head has come."""
        exchange.extra_headers = [(b"X-Request-Id", exchange.request_id.encode())]
        found = self._turned_away(exchange) or routes.find(exchange.head.method, exchange.head.path)
        if isinstance(found, routes.Found):
            exchange.route = found.route
            exchange.error_shape = error_shapes.of_action(found.action)
            if self._token and found.action not in _OPEN and not has_token(exchange.head, self._token):
                found = _NO_TOKEN
        if isinstance(found, routes.Fallback):
            answer = found
            exchange.receiver = DiscardedBody(
                exchange, lambda: exchange.respond(answer.status, answer.body, answer.content_type, answer.headers)
            )
        elif found.action in self._simple:
            exchange.parameter = found.parameter
            handler = self._simple[found.action]
            exchange.receiver = DiscardedBody(exchange, lambda: handler(exchange))
        elif found.action == "upload":
            exchange.parameter = found.parameter
            self._blobs.upload(exchange)
        else:
            self._read_model_request(exchange, found.action)

    def ended(self, exchange: Exchange) -> None:
        """An exchange is over."""
        self._log.write(exchange)
        self._measuring.ended(exchange)

    def _state(self) -> dict[str, object]:
        """What the other processes of the port may ask for."""
        return {"metrics": self._monitoring.state(), "residency": self._residency.state()}

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
        # `create` goes by the name that it is made from, which need not be at the beginning.
        may_pass = action != "create" and self.vision_upstream is not None
        if may_pass and isinstance(receiver, BufferedBody) and not exchange.is_over:
            exchange.receiver = _Peeking(receiver, lambda start: self._pass_early(exchange, start))

    def _pass_early(self, exchange: Exchange, body_start: bytes) -> bool:
        name = peek_model(body_start)
        if name is None or self.vision_upstream is None or not self.catalogue.is_on_vision(name):
            return False
        exchange.model = name
        self._passing(exchange, self.vision_upstream).send_streaming(body_start)
        return True

    def _answer(self, exchange: Exchange, action: str, body: bytes) -> None:
        if action == "v1_transcriptions":
            self._transcribe(exchange, body)
            return
        decoded = decode(_plain(exchange, action, body))
        name = model_of(decoded, *routes.MODEL_FIELDS[action]) or ""
        exchange.model = name
        own = self.catalogue.own(name)
        request = ModelRequest(action, body, decoded, name, own)
        # A model is made where the one is that it is made from.
        where = name if action != "create" else model_of(decoded, "from") or name
        if own is not None or self.catalogue.own(where) is not None:
            exchange.backend = "vllm"
            self._handlers[action].answer(exchange, request)
            return

        def unknown() -> None:
            try:
                self._handlers[action].answer(exchange, request)
            except BadBody as error:
                exchange.respond_error(400, str(error))

        def listed(_: object) -> None:
            if self.catalogue.is_on_vision(where):
                self._pass_on(exchange, body)
            else:
                unknown()

        if self.catalogue.is_on_vision(where):
            self._pass_on(exchange, body)
        elif where and is_valid_name(where) and self.vision_upstream is not None:
            self._listing.ask_vision("/api/tags", listed)
        else:
            unknown()

    def _transcribe(self, exchange: Exchange, body: bytes) -> None:
        form = read_form(exchange.head.header(b"content-type"), body)
        exchange.model = form.text("model")
        own = self.catalogue.own(exchange.model)
        if own is None and self.catalogue.is_on_vision(exchange.model):
            self._pass_on(exchange, body)
        else:
            exchange.backend = "vllm" if own is not None else ""
            self._transcriptions.answer(exchange, form, own)

    def _pass_on(self, exchange: Exchange, body: bytes) -> None:
        assert self.vision_upstream is not None
        self._passing(exchange, self.vision_upstream).send_whole(body)

    def _passing(self, exchange: Exchange, vision: Upstream) -> Passing:
        return Passing(exchange, vision, self._vision_limits, withholds_token=bool(self._token))

    def _ready(self, exchange: Exchange) -> None:
        def answer(troubles: dict[str, str]) -> None:
            status, body = ready_answer(troubles)
            exchange.respond(status, body, headers=[] if status == 200 else [RETRY_AFTER])

        check_all(self.catalogue.backends, answer)


def _plain(exchange: Exchange, action: str, body: bytes) -> bytes:
    """The body as the client meant it. One that is passed on goes as it came."""
    if action != "v1_responses" or exchange.head.header(b"content-encoding") != "zstd":
        return body
    from .http.zstd import BadZstd, decompressed  # one client does this

    try:
        return decompressed(body)
    except BadZstd as error:
        raise BadBody(str(error)) from None


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
