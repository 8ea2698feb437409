"""Which models there are and who serves each. Names in, decisions and listing entries out; no network."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .backend import Backend
from .names import InvalidName, ModelName, parse
from .settings import Settings, VllmSettings
from .times import epoch_of, expiry, local_stamp

_BITS = {"F32": 32, "F16": 16, "BF16": 16, "FP8": 8, "Q8_0": 8, "INT8": 8, "Q4_K_M": 5, "Q4_0": 4.5, "INT4": 4.5}
_SCALE = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}


@dataclass(frozen=True)
class OwnModel:
    """A name of a model that vLLM serves."""

    name: ModelName
    digest: str
    backend: Backend
    modified: float  # seconds since 1970

    @property
    def facts(self) -> VllmSettings:
        """What the settings say about the model."""
        return self.backend.settings


def parameter_count(text: str) -> int:
    """The number that a text such as `6.7B` or `947K` stands for, 0 if it stands for none."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMBT]?)", text.strip().upper())
    return round(float(match.group(1)) * _SCALE[match.group(2)]) if match else 0


def size_bytes(settings: VllmSettings) -> int:
    """The model's size; estimated where it is not set, because the CLI cannot print a model of size 0."""
    if settings.size_bytes:
        return settings.size_bytes
    bits = _BITS.get(settings.quantization.upper(), 16)
    return max(int(parameter_count(settings.parameter_size) * bits / 8), 1)


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

    @property
    def own_models(self) -> Iterable[OwnModel]:
        """The names of vLLM's models, in the order of the settings."""
        return self._own.values()

    def own(self, name: str) -> OwnModel | None:
        """The model of this name, if vLLM serves it."""
        try:
            return self._own.get(parse(name).key)
        except InvalidName:
            return None

    def label(self, name: str) -> str:
        """The name as listings have it, "" where nobody serves it. For metrics: clients cannot invent labels."""
        own = self.own(name)
        if own is not None:
            return own.name.display
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
        self._listed_vision = listed - self._own.keys()

    def tags_entry(self, model: OwnModel) -> dict[str, Any]:
        """An entry of `/api/tags` (ollama-api 4.6)."""
        details = self._details(model.facts)
        details["context_length"] = model.facts.context_length
        if model.facts.embedding_length:
            details["embedding_length"] = model.facts.embedding_length
        return {
            "name": model.name.display,
            "model": model.name.display,
            "modified_at": local_stamp(model.modified),
            "size": size_bytes(model.facts),
            "digest": model.digest,
            "details": details,
            "capabilities": model.facts.capabilities,
        }

    def ps_entry(self, model: OwnModel, expires_at: float) -> dict[str, Any]:
        """An entry of `/api/ps` (ollama-api 4.7). All of it is on the GPU, so `size_vram` is `size`."""
        return {
            "name": model.name.display,
            "model": model.name.display,
            "size": size_bytes(model.facts),
            "digest": model.digest,
            "details": self._details(model.facts),
            "expires_at": local_stamp(expires_at),
            "size_vram": size_bytes(model.facts),
            "context_length": model.facts.context_length,
        }

    def show(self, model: OwnModel, requested: str, *, system: str = "", for_copilot: bool = False) -> dict[str, Any]:
        """The answer of `/api/show` (ollama-api 4.8).

        :param for_copilot: VS Code shows `general.basename` in its picker, so that must be the requested name.
        """
        facts = model.facts
        source = f"{facts.repository}@{facts.revision}" if facts.revision else facts.repository
        lines = [
            "# Modelfile written by ollama-adapter: the model is served by vLLM",
            f"# FROM {model.name.display}",
            "",
            f"FROM {source}",
            "TEMPLATE {{ .Prompt }}",
        ]
        if system:
            lines.append(f"SYSTEM {system}")
        lines.append(f"PARAMETER num_ctx {facts.context_length}")
        answer: dict[str, Any] = {}
        if facts.license:
            answer["license"] = facts.license
        answer["modelfile"] = "\n".join(lines) + "\n"
        answer["parameters"] = f"{'num_ctx':<30} {facts.context_length}"
        answer["template"] = "{{ .Prompt }}"
        if system:
            answer["system"] = system
        answer["details"] = self._details(model.facts)
        info: dict[str, Any] = {
            "general.architecture": facts.family,
            "general.basename": requested if for_copilot else facts.repository.rpartition("/")[2],
        }
        count = parameter_count(facts.parameter_size)
        if count:
            info["general.parameter_count"] = count
        info[f"{facts.family}.context_length"] = facts.context_length
        if facts.embedding_length:
            info[f"{facts.family}.embedding_length"] = facts.embedding_length
        answer["model_info"] = info
        answer["capabilities"] = facts.capabilities
        answer["modified_at"] = local_stamp(model.modified)
        return answer

    def _details(self, facts: VllmSettings) -> dict[str, Any]:
        return {
            "parent_model": "",
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
