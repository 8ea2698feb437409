"""Where everything lies on a host. The one place that knows the paths; roles, preflight, rollback and verify read it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from roles.model_names import registry_place
from roles.pins import LOCKS, ROOT, pins

if TYPE_CHECKING:
    from roles.site import Site

ETC = "/etc/llm"
OPT = "/opt/llm"
STATE = "/var/lib/llm"
CACHE = "/var/cache/llm"
LIBEXEC = "/usr/local/lib/llm"
CREDENTIALS = f"{ETC}/credentials"
HUB_TOKEN = f"{CREDENTIALS}/hub-token"
ADAPTER_TOKEN = f"{CREDENTIALS}/adapter-token"
GRAFANA_PASSWORD = f"{CREDENTIALS}/grafana-password"
GRAFANA_STATE = "/var/lib/llm-grafana"  # its database; systemd's StateDirectory, a link into /var/lib/private
# Virtual models; systemd's StateDirectory, a link into /var/lib/private.
ADAPTER_STATE, ADAPTER_VISION_STATE = "/var/lib/ollama-adapter", "/var/lib/ollama-adapter-vision"
UNITS = "/etc/systemd/system"
STATE_FILE = f"{STATE}/state.json"

VLLM, VLLM_MODEL = "vllm.service", "vllm-model.service"
ADAPTER, ADAPTER_SOCKET = "ollama-adapter.service", "ollama-adapter.socket"
OLLAMA_TEXT, OLLAMA_VISION = "ollama-text.service", "ollama-vision.service"
GRAFANA = "llm-grafana.service"  # with monitoring.stack; of no phase
# Of packages, with a drop-in of ours each, where `monitoring.stack` is set.
PROMETHEUS, NODE_EXPORTER = "prometheus.service", "prometheus-node-exporter.service"
BLACKBOX, DCGM_EXPORTER = "prometheus-blackbox-exporter.service", "nvidia-dcgm-exporter.service"
MONITORING_UNITS = (PROMETHEUS, NODE_EXPORTER, BLACKBOX, DCGM_EXPORTER)
METRICS_SERVICE, METRICS_TIMER = "llm-metrics.service", "llm-metrics.timer"  # ours whole, beside them
PROMETHEUS_ETC = f"{ETC}/prometheus"
METRICS = f"{STATE}/metrics"  # what node_exporter reads of the host's own programs
# With `vision = "vllm"` these are Phase 2's instead of ollama-vision; see docs/decisions/8.
VLLM_VISION, VLLM_VISION_MODEL = "vllm-vision.service", "vllm-vision-model.service"
ADAPTER_VISION, ADAPTER_VISION_SOCKET = "ollama-adapter-vision.service", "ollama-adapter-vision.socket"
OLLAMA_EMBED = "ollama-embed.service"
PHASE_TARGETS = {1: "llm-phase1.target", 2: "llm-phase2.target"}
PHASE_ALIAS = "llm-phase.target"  # what a boot starts: a link to the target of one phase
PHASE_UNITS = {1: (OLLAMA_VISION, OLLAMA_TEXT), 2: (OLLAMA_VISION, VLLM, ADAPTER_SOCKET, ADAPTER)}
PHASE_2_WITH_VISION_ON_VLLM = (
    OLLAMA_EMBED, VLLM, VLLM_VISION, ADAPTER_SOCKET, ADAPTER, ADAPTER_VISION_SOCKET, ADAPTER_VISION
)  # fmt: skip
OUR_UNITS = frozenset(
    {VLLM, VLLM_MODEL, ADAPTER, ADAPTER_SOCKET, OLLAMA_TEXT, OLLAMA_VISION, VLLM_VISION_MODEL}
    | {*PHASE_2_WITH_VISION_ON_VLLM}
)


def drop_in(unit: str) -> str:
    """Our part of a unit that came with a package; where it is, the unit is ours to run and to stop."""
    return f"{UNITS}/{unit}.d/llm.conf"


COMPLETE = ".complete"  # written last into a directory of software: without it the directory is half made


@dataclass(frozen=True)
class Release:
    """A version of some software in a directory of its own; `current` beside it points to the one in use."""

    parent: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.parent}/{self.name}"

    @property
    def current(self) -> str:
        return f"{self.parent}/current"

    @property
    def marker(self) -> str:
        return f"{self.path}/{COMPLETE}"


@dataclass(frozen=True)
class GrafanaArchive:
    """A release archive of Grafana."""

    version: str
    build: str
    sha256: str

    @property
    def path(self) -> str:
        """Below the address of the releases."""
        return f"{self.version}/grafana_{self.version}_{self.build}_linux_amd64.tar.gz"


def digest(*parts: str | bytes) -> str:
    """A short name for content: 12 hex digits of the sha256 over all parts."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "big") + data)
    return total.hexdigest()[:12]


@dataclass(frozen=True)
class VllmBuild:
    """Which build of vLLM a host gets."""

    kind: Literal["cuda", "cpu"]
    version: str
    python: str
    lock: str

    @property
    def lock_text(self) -> str:
        return (LOCKS / self.lock).read_text(encoding="utf-8")


def vllm_build(site: Site) -> VllmBuild:
    """The build for the host's processor: CUDA wheels for a GPU, the CPU build without one."""
    pin = pins().vllm
    if site.gpu == "none":
        return VllmBuild("cpu", pin.cpu, pin.python_cpu, "vllm-cpu.lock")
    return VllmBuild("cuda", pin.cuda, pin.python, "vllm-cuda.lock")


def vllm_release(site: Site) -> Release:
    build = vllm_build(site)
    return Release(f"{OPT}/vllm", f"{build.version}-{build.kind}-{digest(build.lock_text, build.python)}")


def uv_release() -> Release:
    lock = (LOCKS / "uv.lock").read_text(encoding="utf-8")
    return Release(f"{OPT}/uv", lock.split()[0].removeprefix("uv=="))


def ollama_version(site: Site) -> str:
    return site.ollama.version or pins().ollama.version


def ollama_release(site: Site) -> Release:
    return Release(f"{OPT}/ollama", ollama_version(site))


def grafana_archive(site: Site) -> GrafanaArchive:
    """The release to install: the setting, else the pin. roles/site.py has made sure that they do not mix."""
    said, pin = site.monitoring.grafana, pins().grafana
    if said.version is None:
        return GrafanaArchive(pin.version, pin.build, said.sha256 or pin.sha256)
    return GrafanaArchive(said.version, said.build or "", said.sha256 or "")


def grafana_release(site: Site) -> Release:
    archive = grafana_archive(site)
    return Release(f"{OPT}/grafana", f"{archive.version}-{archive.build}")


def adapter_sources() -> list[tuple[str, bytes]]:
    """Every file that makes the adapter's wheel and environment, by its path in files/adapter."""
    root = ROOT / "files" / "adapter"
    files = [root / "pyproject.toml", root / "requirements.lock", *sorted((root / "src").rglob("*.py"))]
    return [(str(file.relative_to(root)), file.read_bytes()) for file in files]


def adapter_lock() -> str:
    """What the adapter's environment holds besides the adapter."""
    return dict(adapter_sources())["requirements.lock"].decode()


def adapter_release() -> Release:
    return Release(f"{OPT}/adapter", digest(*(part for source in adapter_sources() for part in source)))


@dataclass(frozen=True)
class Snapshot:
    """One revision of one repository in the hub cache, as huggingface_hub lays it out."""

    repository: str
    revision: str
    hub_cache: str

    @property
    def path(self) -> str:
        return f"{self.hub_cache}/models--{self.repository.replace('/', '--')}/snapshots/{self.revision}"

    @property
    def marker(self) -> str:
        return f"{self.hub_cache}/.complete/{self.repository.replace('/', '--')}@{self.revision}"


def phase_units(site: Site) -> dict[int, tuple[str, ...]]:
    """By phase, its units in the order in which they are looked at."""
    return PHASE_UNITS | ({2: PHASE_2_WITH_VISION_ON_VLLM} if site.vision_on_vllm else {})


def snapshot(site: Site) -> Snapshot:
    """The text model on disk. Preflight has made sure that a revision is known."""
    return Snapshot(site.vllm.model, site.model_revision or "", site.vllm.hub_cache)


def vision_snapshot(site: Site) -> Snapshot:
    """The vision model of vLLM on disk, likewise."""
    return Snapshot(site.vllm_vision.model, site.vision_model_revision or "", site.vllm.hub_cache)


def snapshots(site: Site) -> tuple[Snapshot, ...]:
    """Every model of vLLM that a host with Phase 2 keeps on its disk."""
    return (snapshot(site), vision_snapshot(site)) if site.vision_on_vllm else (snapshot(site),)


def ollama_home(instance: Literal["text", "vision"]) -> str:
    return f"/var/lib/ollama-{instance}"


def ollama_manifest(instance: Literal["text", "vision"], model: str) -> str:
    """The file whose presence means that `model` is complete in the instance's directory (Ollama writes it last)."""
    return f"{ollama_home(instance)}/models/manifests/{'/'.join(registry_place(model))}"
