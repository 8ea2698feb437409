"""`/api/create`, `/api/copy`, `/api/delete` and `/api/push` in front of vLLM (ollama-api 4.10 to 4.12).

vLLM serves what its unit loads, so nothing here changes weights. `create` and `copy` make virtual models; a served one
is neither replaced nor deleted, and a push ends in an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..http.exchange import Exchange
from ..models.catalogue import Catalogue, OwnModel
from ..models.presets import Preset
from ..models.requests import ModelRequest, is_valid_name, unknown_model
from ..models.virtual_models import Done, VirtualModels
from .creating import Refused, has_bad_path, missing_blob, missing_manifest, plan
from .names import InvalidName, ModelName, parse
from .progress import Progress
from .small_requests import NOT_IN_REGISTRY, read_fields

_SERVED = '"{}" is served by vLLM: its names are in the settings of the adapter (aliases), not in a request'
_ON_VISION = '"{}" is a model of Ollama Vision; choose another name'


class VirtualModelHandler:
    """Answers these requests."""

    def __init__(self, catalogue: Catalogue, models: VirtualModels) -> None:
        self._catalogue = catalogue
        self._models = models

    def answer(self, exchange: Exchange, request: ModelRequest) -> None:
        """See `Handler`."""
        fields = read_fields(request.action, request.decoded)
        answers = {"create": self._create, "copy": self._copy, "delete": self._delete, "push": self._push}
        answers[request.action](exchange, request, fields)

    def _create(self, exchange: Exchange, request: ModelRequest, fields: Mapping[str, Any]) -> None:
        if has_bad_path(fields.get("files", {})):
            exchange.respond_error(400, "file path must be relative")
            return
        if not is_valid_name(request.name):
            exchange.respond_error(*unknown_model("create", request.name))
            return
        progress = Progress(exchange, stream=fields.get("stream", True))
        try:
            self._make(progress, parse(request.name), fields)
        except Refused as refused:
            progress.fail(refused.status, str(refused))

    def _make(self, progress: Progress, name: ModelName, fields: Mapping[str, Any]) -> None:
        source = fields.get("from", "")
        if not source:
            raise _without_base(progress, fields.get("files"))
        if not is_valid_name(source):
            raise Refused(400, "invalid model name")
        base = self._catalogue.own(source)
        if base is None:
            progress.step("pulling manifest")
            raise Refused(500, NOT_IN_REGISTRY)
        todo = plan(fields, base)
        self._check_target(name)
        progress.step(f"using existing layer sha256:{(base if base.base is None else self._served(base)).digest}")
        for _, digest in todo.kept:
            progress.step(f"using existing layer sha256:{digest}")
        known = {digest for _, digest in self._models.layers}
        for _, digest in todo.new:
            verb = "using existing" if digest in known else "creating new"
            progress.step(f"{verb} layer sha256:{digest}")
        progress.step("writing manifest")

        def made(trouble: str) -> None:
            if trouble:
                progress.fail(500, trouble)
            else:
                progress.succeed()

        self._models.make(self._kept_name(name), base, base.name.display, todo.preset, made)

    def _copy(self, exchange: Exchange, request: ModelRequest, fields: Mapping[str, Any]) -> None:
        destination = fields.get("destination", "")
        if not is_valid_name(request.name):
            exchange.respond_error(*unknown_model("copy", request.name))
        elif not is_valid_name(destination):
            exchange.respond_error(400, f'destination "{destination}" is invalid')
        elif request.own is None:
            exchange.respond_error(*unknown_model("copy", request.name))
        elif parse(destination).key == request.own.name.key:
            _succeed(exchange)
        else:
            try:
                self._check_target(parse(destination))
            except Refused as refused:
                exchange.respond_error(refused.status, str(refused))
                return
            source = request.own
            name = self._kept_name(parse(destination))
            self._models.make(name, source, source.parent, source.preset or Preset(), _finishing(exchange))

    def _delete(self, exchange: Exchange, request: ModelRequest, _: Mapping[str, Any]) -> None:
        record = self._models.record(request.name)
        if request.own is not None and request.own.preset is None:
            exchange.respond_error(400, _SERVED.format(request.name))
        elif record is None:
            exchange.respond_error(*unknown_model("delete", request.name))
        else:
            self._models.forget(record.name, _finishing(exchange))

    def _push(self, exchange: Exchange, request: ModelRequest, fields: Mapping[str, Any]) -> None:
        if not request.name:
            exchange.respond_error(*unknown_model("push", ""))
            return
        progress = Progress(exchange, stream=fields.get("stream", True))
        progress.step("retrieving manifest")
        if request.own is not None:
            progress.fail(501, f'"{request.name}" is served by vLLM: there is nothing to push to a registry of Ollama')
            return
        progress.step("couldn't retrieve manifest")
        try:
            name = parse(request.name)
        except InvalidName:
            name = ModelName("registry.ollama.ai", "library", request.name, "latest")
        progress.fail(500, missing_manifest(name))

    def _served(self, virtual: OwnModel) -> OwnModel:
        assert virtual.base is not None
        return self._catalogue.served(virtual.base.full) or virtual

    def _kept_name(self, name: ModelName) -> ModelName:
        """The name as it is written already, where there is one that differs in case alone, as in Ollama."""
        record = self._models.record(name.full)
        return name if record is None else record.name

    def _check_target(self, name: ModelName) -> None:
        if self._catalogue.served(name.full) is not None:
            raise Refused(400, _SERVED.format(name.display))
        if self._catalogue.is_on_vision(name.full):
            raise Refused(400, _ON_VISION.format(name.display))


def _without_base(progress: Progress, files: Mapping[str, str] | None) -> Refused:
    """Files are weights, and these are vLLM's. Nobody has uploaded any: `blobs` says so to who tries."""
    if files is None:
        return Refused(400, "neither 'from' or 'files' was specified")
    if not files:
        return Refused(400, "no files provided to convert")
    name = min(files)
    if name.endswith(".gguf"):
        progress.step("parsing GGUF")
    return Refused(500, missing_blob(files[name]))


def _succeed(exchange: Exchange) -> None:
    exchange.respond(200, b"", b"")


def _finishing(exchange: Exchange) -> Done:
    def done(trouble: str) -> None:
        if trouble:
            exchange.respond_error(500, trouble)
        else:
            _succeed(exchange)

    return done
