"""All settings of one host, from the inventory to checked values. deploy, rollback, verify and the docs read these.

Strongest first: `--data vllm.port=8001`, the host's own data, its groups' data, the environment names of the original
guide (only where nothing else sets the same thing), the defaults in each role's settings.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from roles.adapter.settings import AdapterSettings
from roles.base.settings import BaseSettings
from roles.consumers.settings import ConsumersSettings
from roles.docker.settings import DockerSettings
from roles.mirrors import MirrorSettings
from roles.model_names import canonical
from roles.monitoring.settings import MonitoringSettings
from roles.nvidia.settings import NvidiaSettings
from roles.ollama.settings import OllamaSettings
from roles.pins import ModelPin, pins
from roles.settings import Data, Settings, SettingsError, merge, nest, validate
from roles.vllm.settings import VllmSettings, VllmVisionSettings

# The names an operator of the original system knows (its compose file and guide), and the setting each one means.
ENVIRONMENT_NAMES = {
    "MODEL_NAME": "vllm.model",
    "GPU_MEMORY_UTILIZATION": "vllm.gpu_memory_utilization",
    "MAX_MODEL_LEN": "vllm.max_model_len",
    "TENSOR_PARALLEL_SIZE": "vllm.tensor_parallel_size",
    "HUGGINGFACE_HUB_CACHE": "vllm.hub_cache",
    "OLLAMA_URL": "consumers.ollama_url",
    "VISION_OLLAMA_URL": "consumers.vision_ollama_url",
}

# Data that pyinfra's connectors and global arguments read, and playbooks' own switches: not ours to judge.
_FOREIGN_PREFIXES = ("_", "ssh_", "fake_")


class Site(Settings):
    """One host. Every key of the inventory that is not listed here, or in a section below, is an error."""

    phase: Literal[1, 2] = Field(2, description="what serves 11434: 1 Ollama, 2 vLLM behind the adapter")
    prepare: Literal["auto", "both", "phase1"] = Field(
        "auto", description="phases kept complete on disk; `auto`: both, or Phase 1 alone where no card can run vLLM"
    )
    vision: Literal["ollama", "vllm"] = Field(
        "ollama",
        description="what answers about pictures in Phase 2: Ollama Vision, or a vLLM of its own behind an adapter",
    )
    report: Literal["text", "json"] = Field(
        "text", description="how preflight and drift report; `json` is for machines"
    )
    lock: Literal["respect", "break"] = Field(
        "respect", description="`break` (for one run, with --data) ends another run that has this host"
    )
    keep: int = Field(3, ge=1, le=50, description="good releases that stay on the host for `rollback.py --data to=…`")
    batch: int | None = Field(
        None,
        ge=1,
        description="of several hosts one changes over first, then so many at a time (with --data); default: all the others",
    )
    gpu: Literal["nvidia", "none"] = Field("nvidia", description="`none` serves from the CPU: labs, laptops, CI")
    mirrors: MirrorSettings = MirrorSettings()
    base: BaseSettings = BaseSettings()
    nvidia: NvidiaSettings = NvidiaSettings()
    docker: DockerSettings = DockerSettings()
    vllm: VllmSettings = VllmSettings()
    vllm_vision: VllmVisionSettings = VllmVisionSettings()
    ollama: OllamaSettings = OllamaSettings()
    adapter: AdapterSettings = AdapterSettings()
    consumers: ConsumersSettings = ConsumersSettings()
    monitoring: MonitoringSettings = MonitoringSettings()

    @property
    def prepares_phase_2(self) -> bool:
        """Whether vLLM and the adapter are put on the host's disk. Undecided counts as yes; roles/phases.py decides."""
        return self.prepare != "phase1"

    @property
    def vision_on_vllm(self) -> bool:
        """Whether Phase 2 of this host answers about pictures from a vLLM."""
        return self.vision == "vllm" and self.prepares_phase_2

    @property
    def asks_for_token(self) -> bool:
        """Whether clients are asked for a token: by the adapter. A host for Phase 1 alone has none, and no such file."""
        return self.adapter.require_token and self.prepares_phase_2

    @property
    def vision_models(self) -> tuple[str, ...]:
        """The names that 11435 knows in Phase 2, each once: those of Phase 1, and what else vLLM is asked for by."""
        known = {canonical(name) for name in self.ollama.vision.models}
        further = self.vllm_vision.aliases if self.vision_on_vllm else ()
        return (*self.ollama.vision.models, *(name for name in further if canonical(name) not in known))

    @property
    def embed_models(self) -> tuple[str, ...]:
        """With vision on vLLM, the models of Ollama Vision that vLLM does not answer for: embeddings, as a rule."""
        taken = {canonical(name) for name in self.vllm_vision.aliases}
        return tuple(name for name in self.ollama.vision.models if canonical(name) not in taken)

    @property
    def model_pin(self) -> ModelPin | None:
        """What pins.toml knows about the text model, if it knows it."""
        return pins().models.get(self.vllm.model)

    @property
    def model_revision(self) -> str | None:
        """The commit to serve: the setting, else the pin; None when neither has one (preflight refuses then)."""
        return self.vllm.model_revision or (self.model_pin.revision if self.model_pin else None)

    @property
    def vision_model_pin(self) -> ModelPin | None:
        """The same about the vision model of vLLM."""
        return pins().models.get(self.vllm_vision.model)

    @property
    def vision_model_revision(self) -> str | None:
        """The same commit for the vision model of vLLM."""
        pin = self.vision_model_pin
        return self.vllm_vision.model_revision or (pin.revision if pin else None)

    @property
    def ollama_url(self) -> str:
        """Where containers on this host find the text models."""
        return self.consumers.ollama_url or f"http://host.docker.internal:{self.adapter.port}"

    @property
    def vision_ollama_url(self) -> str:
        """Where containers on this host find the image and embedding models."""
        return self.consumers.vision_ollama_url or f"http://host.docker.internal:{self.ollama.vision.port}"


def site_from(layers: Iterable[Mapping[str, Any]], environment: Mapping[str, str]) -> Site:
    """The settings of one host.

    :param layers: host data, weakest first; dictionaries merge key by key, dotted keys are sections.
    :param environment: the controller's environment variables; only ENVIRONMENT_NAMES are looked at.
    :raises SettingsError: with every problem, when there is one.
    """
    data: Data = {}
    problems: list[str] = []
    for layer in layers:
        ours = {key: value for key, value in layer.items() if not key.startswith(_FOREIGN_PREFIXES)}
        data = merge(data, nest({ENVIRONMENT_NAMES.get(key, key): value for key, value in ours.items()}))
    for name, key in ENVIRONMENT_NAMES.items():
        if name not in environment:
            continue
        wanted, present = environment[name], _look_up(data, key)
        if present is None:
            data = merge(data, nest({key: wanted}))
        elif str(present) != wanted:
            problems.append(f"{key}: {present!r} in the inventory, {wanted!r} in the environment as {name}; unset one")
    site, invalid = validate(Site, data)
    origin = {key: name for name, key in ENVIRONMENT_NAMES.items() if name in environment}
    for problem in invalid:
        source = origin.get(problem.partition(":")[0])
        problems.append(f"{problem} (from {source} in the environment)" if source else problem)
    problems += conflicts(site)
    if problems:
        raise SettingsError(problems)
    return site


def taken_from_environment(environment: Mapping[str, str]) -> list[str]:
    """One line for each variable of the controller that sets something, for the operator to see."""
    return [
        f"{name}={environment[name]} in the environment sets {key}"
        for name, key in ENVIRONMENT_NAMES.items()
        if name in environment
    ]


def conflicts(site: Site) -> list[str]:
    """What is wrong between settings that are each right by themselves."""
    return [
        *_phase_conflicts(site),
        *_port_conflicts(site),
        *_name_conflicts(site),
        *_url_conflicts(site),
        *_gpu_conflicts(site),
        *_driver_conflicts(site),
        *_adapter_conflicts(site),
        *_secret_conflicts(site),
        *_consumer_conflicts(site),
        *_monitoring_conflicts(site),
        *_vision_conflicts(site),
    ]


def _phase_conflicts(site: Site) -> Iterable[str]:
    if site.phase == 2 and not site.prepares_phase_2:
        yield 'prepare: "phase1" leaves vLLM out, but phase is 2; set phase = 1'


def _port_conflicts(site: Site) -> Iterable[str]:
    """Two listeners of one moment on one port. `adapter` and `ollama.text` may share: they never run together."""
    ports = {
        "vllm.port": site.vllm.port,
        "adapter.port": site.adapter.port,
        "ollama.text.port": site.ollama.text.port,
        "ollama.vision.port": site.ollama.vision.port,
        "ollama.pull_port": site.ollama.pull_port,
    }
    if site.vision_on_vllm:
        ports |= {
            "vllm_vision.port": site.vllm_vision.port,
            "ollama.vision.loopback_port": site.ollama.vision.loopback_port,
        }
    watching = {key: one.port for key, one in site.monitoring.listening(site.gpu).items()}
    for (first, port), (second, other) in combinations((ports | watching).items(), 2):
        if port == other and {first, second} != {"adapter.port", "ollama.text.port"}:
            yield f"{second}: {other} is taken by {first}; give each its own"
    for key, port in watching.items():
        for one in site.consumers.services:
            if one.port == port and _is_here(one.health_url):
                yield f"{key}: {port} is where consumers.services has {one.name}; give each its own"
    if site.adapter.port != site.ollama.text.port:
        yield (
            f"adapter.port: {site.adapter.port} differs from ollama.text.port {site.ollama.text.port}; "
            "clients keep their port only if both phases serve text on the same one"
        )


def _is_here(health_url: str | None) -> bool:
    """Whether a service of consumers is on the host itself; one that is asked for its health elsewhere takes no port here."""
    return health_url is None or urlsplit(health_url).hostname in ("localhost", "127.0.0.1")


def _name_conflicts(site: Site) -> Iterable[str]:
    vision = {canonical(name): ("ollama.vision.models", name) for name in site.ollama.vision.models}
    if site.vision_on_vllm:
        vision |= {canonical(name): ("vllm_vision.aliases", name) for name in site.vllm_vision.aliases}
    text: dict[str, str] = {}
    served = {
        "vllm.aliases": site.vllm.aliases,
        **{f"adapter.models[{number}].aliases": model.aliases for number, model in enumerate(site.adapter.models)},
    }
    for key, aliases in served.items():
        for alias in aliases:
            name = canonical(alias)
            if other := vision.get(name):
                yield f"{key}: {alias!r} is claimed by {other[0]} too, as {other[1]!r}; a name has one backend"
            if (first := text.setdefault(name, key)) != key:
                yield f"{key}: {alias!r} is claimed by {first} too; a name has one backend"


def _url_conflicts(site: Site) -> Iterable[str]:
    for key, url, owner, port in (
        ("consumers.ollama_url", site.consumers.ollama_url, "adapter.port", site.adapter.port),
        (
            "consumers.vision_ollama_url",
            site.consumers.vision_ollama_url,
            "ollama.vision.port",
            site.ollama.vision.port,
        ),
    ):
        if url is None:
            continue
        given = urlsplit(url).port or (443 if url.startswith("https") else 80)
        if given != port:
            yield f"{key}: port {given} is not {owner} ({port}), where the Ollama API is served"


def _gpu_conflicts(site: Site) -> Iterable[str]:
    if site.gpu == "none":
        named = {
            "vllm.gpus": site.vllm.gpus,
            "ollama.text.gpus": site.ollama.text.gpus,
            "ollama.vision.gpus": site.ollama.vision.gpus,
            "vllm_vision.gpus": site.vllm_vision.gpus,
        }
        for key, cards in named.items():
            if cards:
                yield f'{key}: names a card, but gpu is "none"'
    if site.vllm.gpus and len(site.vllm.gpus) < site.vllm.tensor_parallel_size:
        yield (
            f"vllm.tensor_parallel_size: {site.vllm.tensor_parallel_size} cards wanted, "
            f"vllm.gpus names {len(site.vllm.gpus)}"
        )


def _driver_conflicts(site: Site) -> Iterable[str]:
    branch = site.nvidia.wanted_branch
    if site.nvidia.version and not site.nvidia.version.startswith(f"{branch}."):
        yield f"nvidia.version: {site.nvidia.version} is not of branch {branch}; set nvidia.branch too"


def _adapter_conflicts(site: Site) -> Iterable[str]:
    own = f"http://127.0.0.1:{site.vllm.port}"
    if own in {url.rstrip("/") for url in site.adapter.replicas}:
        yield f"adapter.replicas: {own} is this host's own vLLM, which the adapter asks anyway"
    named = site.adapter.token
    if (named.file or named.command) and not site.adapter.require_token:
        yield f"{named.setting}: names a token, but adapter.require_token is false: nobody would be asked for it"


def _secret_conflicts(site: Site) -> Iterable[str]:
    for source in (site.vllm.hub_token, site.adapter.token, site.monitoring.grafana.password):
        if source.file and source.command:
            yield (
                f"{source.key}_command: {source.key}_file names a place for the same {source.what}; "
                "set one of them to None"
            )


def _monitoring_conflicts(site: Site) -> Iterable[str]:
    said = site.monitoring.grafana
    if said.version and not (said.build and said.sha256):
        yield (
            f"monitoring.grafana.version: {said.version} needs monitoring.grafana.build and .sha256 too; "
            f"https://grafana.com/grafana/download/{said.version}?edition=oss has both"
        )
    if said.build and not said.version:
        yield f"monitoring.grafana.build: {said.build} is of a version that is not said; set monitoring.grafana.version"


def _consumer_conflicts(site: Site) -> Iterable[str]:
    names = [one.name for one in site.consumers.services]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"consumers.services: {name!r} is there twice"
    model = site.vllm.aliases[0]
    both_have_it = {canonical(name) for name in site.ollama.text.models}
    if site.consumers.project and site.prepares_phase_2 and canonical(model) not in both_have_it:
        yield (
            f"consumers.project: its services are told the model {model!r} (vllm.aliases[0]), which Phase 1 would not have; "
            f"add it to ollama.text.models, or put one of those first in vllm.aliases"
        )


def _vision_conflicts(site: Site) -> Iterable[str]:
    if not site.vision_on_vllm:
        return
    if not site.embed_models:
        names = ", ".join(map(repr, site.vllm_vision.aliases))
        yield (
            f"vllm_vision.aliases: {names} are all of ollama.vision.models, so nothing would make embeddings in Phase 2; "
            'leave out what vLLM does not serve, or add "nomic-embed-text" to ollama.vision.models'
        )
    vision = site.vllm_vision
    if vision.gpus and len(vision.gpus) < vision.tensor_parallel_size:
        yield (
            f"vllm_vision.tensor_parallel_size: {vision.tensor_parallel_size} cards wanted, "
            f"vllm_vision.gpus names {len(vision.gpus)}"
        )


def _look_up(data: Mapping[str, Any], key: str) -> Any:
    value: Any = data
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value
