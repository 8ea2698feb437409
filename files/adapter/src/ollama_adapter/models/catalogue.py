"""Which models there are and who serves each. Names in, decisions and listing entries out; no network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..ollama.names import InvalidName, ModelName, parse
from ..ollama.showing import (
    model_info,
    modelfile,
    parameter_lines,
    shown_capabilities,
    shown_parameters,
    shown_template,
)
from ..ollama.times import epoch_of, expiry, local_stamp
from ..settings import Settings, VllmSettings
from .backend import Backend
from .facts import ModelFacts
from .presets import Preset, shown_messages


@dataclass(frozen=True)
class OwnModel:
    """A name of a model that vLLM serves."""

    name: ModelName
    digest: str
    backend: Backend
    modified: float  # seconds since 1970
    # of a virtual model: what it adds, the served model that answers, and the name it was made from
    preset: Preset | None = None
    base: ModelName | None = None
    parent: str = ""

    @property
    def facts(self) -> ModelFacts:
        """What is known about the model now."""
        return self.backend.facts

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What to list; a virtual model with a template of its own may have others than its base."""
        names = self.facts.capabilities
        return names if self.preset is None else self.preset.capabilities(names)

    def can(self, capability: str) -> bool:
        """Whether the model has one of Ollama's capabilities; while none is known, whether it might."""
        if self.preset is None or not self.preset.template:
            return self.backend.can(capability)
        return capability in self.preset.capabilities(self.facts.abilities)


def digest(facts: VllmSettings, name: ModelName) -> str:
    """64 hex digits, unique per name, because llm-ollama takes equal digests for aliases of one model and shows one."""
    return hashlib.sha256("\n".join((facts.repository, facts.revision, name.key)).encode()).hexdigest()


class Catalogue:
    """The models of the settings, and those that Ollama Vision listed last."""

    def __init__(self, settings: Settings) -> None:
        self.backends = [Backend(model) for _, model in settings.named_models()]
        self._own: dict[str, OwnModel] = {}
        for backend in self.backends:
            facts = backend.settings
            modified = epoch_of(facts.modified_at) or settings.file_time or time.time()
            for name in map(parse, facts.aliases):
                self._own[name.key] = OwnModel(name, digest(facts, name), backend, modified)
        self._configured_vision = {parse(name).key for name in settings.vision.models}
        self._listed_vision: set[str] = set()
        self._virtual: dict[str, OwnModel] = {}
        # Called before virtual models are looked up: another process of the port may have changed them.
        self.refresh: Callable[[], None] = lambda: None

    @property
    def own_models(self) -> Iterable[OwnModel]:
        """The names of vLLM's models, in the order of the settings, then the virtual models."""
        self.refresh()
        return [*self._own.values(), *self._virtual.values()]

    def replace_virtual(self, models: Iterable[OwnModel]) -> None:
        """Take over the virtual models there are now. A served name stays what the settings say."""
        self._virtual = {model.name.key: model for model in models if model.name.key not in self._own}
        self._listed_vision -= self._virtual.keys()

    def served(self, name: str) -> OwnModel | None:
        """The model of this name, if the settings have it."""
        try:
            return self._own.get(parse(name).key)
        except InvalidName:
            return None

    def own(self, name: str) -> OwnModel | None:
        """The model of this name, if vLLM serves it or it is a virtual one."""
        try:
            key = parse(name).key
        except InvalidName:
            return None
        found = self._own.get(key)
        if found is None:
            self.refresh()
            found = self._virtual.get(key)
        return found

    def label(self, name: str) -> str:
        """The name as listings have it, "" where nobody serves it; of a virtual model, that of its base. For metrics:
        clients cannot invent labels."""
        own = self.own(name)
        if own is not None:
            return (own.base or own.name).display
        return parse(name).display.lower() if self.is_on_vision(name) else ""

    def is_on_vision(self, name: str) -> bool:
        """Whether Ollama Vision serves this name, by the settings or by its list when it was last seen."""
        try:
            key = parse(name).key
        except InvalidName:
            return False
        return key in self._configured_vision or key in self._listed_vision

    def learn_vision_models(self, names: Iterable[str]) -> None:
        """Take over what Ollama Vision lists now. A name that vLLM serves stays vLLM's."""
        listed = set()
        for name in names:
            try:
                listed.add(parse(name).key)
            except InvalidName:
                continue
        self._listed_vision = listed - self._own.keys() - self._virtual.keys()

    def tags_entry(self, model: OwnModel) -> dict[str, Any]:
        """An entry of `/api/tags` (ollama-api 4.6)."""
        details = self._details(model)
        # Ollama leaves both out where it does not know them.
        for name in ("context_length", "embedding_length"):
            if getattr(model.facts, name):
                details[name] = getattr(model.facts, name)
        return {
            "name": model.name.display,
            "model": model.name.display,
            "modified_at": local_stamp(model.modified),
            "size": model.facts.size_bytes,
            "digest": model.digest,
            "details": details,
            "capabilities": shown_capabilities(model.capabilities),
        }

    def ps_entry(self, model: OwnModel, expires_at: float) -> dict[str, Any]:
        """An entry of `/api/ps` (ollama-api 4.7). All of it is on the GPU, so `size_vram` is `size`."""
        return {
            "name": model.name.display,
            "model": model.name.display,
            "size": model.facts.size_bytes,
            "digest": model.digest,
            "details": self._details(model),
            "expires_at": local_stamp(expires_at),
            "size_vram": model.facts.size_bytes,
            "context_length": model.facts.context_length,
        }

    def show(self, model: OwnModel, requested: str, *, system: str = "", for_copilot: bool = False) -> dict[str, Any]:
        """The answer of `/api/show` (ollama-api 4.8).

        :param for_copilot: VS Code shows `general.basename` in its picker, so that must be the requested name.
        """
        facts = model.facts
        settings = model.backend.settings
        preset = model.preset or Preset()
        source = f"{facts.repository}@{settings.revision}" if settings.revision else facts.repository
        if model.base is not None:  # so that the Modelfile makes this model again
            source = model.base.display
        template = preset.template or shown_template(facts)
        system = system or preset.system
        license_text = "\n".join(filter(None, (facts.license, *preset.licenses)))
        options = {"num_ctx": facts.context_length or None, **settings.default_options, **preset.parameters}
        parameters = parameter_lines(options)
        messages = shown_messages(preset.messages)
        answer: dict[str, Any] = {
            "license": license_text,
            "modelfile": modelfile(model.name.display, source, template, system, parameters, license_text, messages),
            "parameters": shown_parameters(parameters),
            "template": template,
            "system": system,
        }
        answer = {name: text for name, text in answer.items() if text}
        answer["details"] = self._details(model)
        if messages:
            answer["messages"] = messages
        basename = requested if for_copilot else facts.repository.rstrip("/").rpartition("/")[2]
        answer["model_info"] = model_info(facts, basename)
        answer["capabilities"] = shown_capabilities(model.capabilities)
        answer["modified_at"] = local_stamp(model.modified)
        return answer

    def _details(self, model: OwnModel) -> dict[str, Any]:
        facts = model.facts
        return {
            "parent_model": model.parent,
            "format": "safetensors",
            "family": facts.family,
            "families": [facts.family],
            "parameter_size": facts.parameter_size,
            "quantization_level": facts.quantization,
        }


class Residency:
    """What `/api/ps` lists of vLLM's models: names in use, until their `keep_alive` has passed.

    vLLM keeps the model in memory all the time; clients see what they would see of Ollama.
    """

    def __init__(self) -> None:
        self._used: dict[str, tuple[float, float]] = {}  # key -> when it was used last, and when it expires

    def use(self, model: OwnModel, now: float, keep_alive_s: float) -> None:
        """The model is used now; 0 seconds unloads it."""
        if keep_alive_s <= 0:
            self._used[model.name.key] = (now, now)
        else:
            self._used[model.name.key] = (now, expiry(now, keep_alive_s))

    def state(self) -> dict[str, tuple[float, float]]:
        """What the other processes of the port may ask for."""
        return self._used

    def resident(
        self, models: Iterable[OwnModel], now: float, others: Iterable[Mapping[str, Sequence[float]]] = ()
    ) -> list[tuple[OwnModel, float]]:
        """The models in memory and when each leaves it, the last to leave first.

        :param others: the states of the other processes of the port; whoever used a model last is right about it.
        """
        used: dict[str, Sequence[float]] = dict(self._used)
        for other in others:
            for key, value in other.items():
                used[key] = max(value, used.get(key, (0.0, 0.0)), key=lambda times: times[0])
        found = [(model, used[model.name.key][1]) for model in models if model.name.key in used]
        return sorted((item for item in found if item[1] > now), key=lambda item: -item[1])
