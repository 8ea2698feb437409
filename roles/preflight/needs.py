"""What a deploy would still have to fetch to this host, and how much disk that takes. Pure; derived from what is present."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from roles.apt_repositories import KEYRINGS
from roles.distribution import SOURCES
from roles.layout import (
    ADAPTER_TOKEN,
    GRAFANA_PASSWORD,
    OPT,
    adapter_release,
    drop_in,
    grafana_release,
    ollama_home,
    ollama_manifest,
    ollama_release,
    snapshot,
    snapshots,
    uv_release,
    vision_snapshot,
    vllm_build,
    vllm_release,
)
from roles.site import Site

GB = 10**9
# Measured: CPU environment 2.5 GB (lab, 2026-11-23). From the wheels' sizes: CUDA environment about 12 GB, twice while uv unpacks.
VLLM_BYTES = {"cpu": int(3.5 * GB), "cuda": 16 * GB}
OLLAMA_BYTES = {
    "none": int(0.2 * GB),
    "nvidia": 6 * GB,
}  # the release carries CUDA libraries; archive and content side by side
GRAFANA_BYTES = int(1.2 * GB)  # archive and content side by side
DRIVER_KEY = f"{KEYRINGS}/nvidia-cuda.gpg"
TOOLKIT_KEY = f"{KEYRINGS}/nvidia-container-toolkit.gpg"


@dataclass(frozen=True)
class Needs:
    """What is missing. `text_models`/`vision_models` are names to pull; sizes by folder, in bytes."""

    uv: bool
    vllm: bool
    adapter: bool
    ollama: bool
    grafana: bool
    model: bool
    vision_model: bool
    distribution_source: bool
    driver_source: bool
    toolkit_source: bool
    text_models: tuple[str, ...]
    vision_models: tuple[str, ...]
    bytes_by_folder: dict[str, int]

    @property
    def python_packages(self) -> bool:
        return self.uv or self.vllm or self.adapter


def paths_to_look_for(site: Site) -> list[str]:
    """The paths whose presence means that something is complete."""
    models = [ollama_manifest("text", m) for m in site.ollama.text.models]
    models += [ollama_manifest("vision", m) for m in site.ollama.vision.models]
    releases = [uv_release(), vllm_release(site), adapter_release(), ollama_release(site)]
    secrets = [ADAPTER_TOKEN] if site.asks_for_token else []
    if site.monitoring.shows_dashboards:
        releases.append(grafana_release(site))
        secrets.append(GRAFANA_PASSWORD)
    return [
        *(release.marker for release in releases),
        *(one.marker for one in snapshots(site)),
        *models,
        SOURCES,
        DRIVER_KEY,
        TOOLKIT_KEY,
        *secrets,
        *(drop_in(one.unit) for one in site.monitoring.listening(site.gpu).values()),
        *(path for group in site.consumers.wanted_files for path in group),
    ]


def folders_to_fill(site: Site) -> list[str]:
    return [OPT, site.vllm.hub_cache, ollama_home("text"), ollama_home("vision")]


def needs(site: Site, present: Collection[str], sizes: dict[str, int]) -> Needs:
    """What is missing on a host that has the paths in `present`.

    :param sizes: bytes of models as the mirrors tell: by name for Ollama's, "model" and "vision-model" for vLLM's; unknown ones
        count nothing.
    """
    both = site.prepares_phase_2
    vllm = both and vllm_release(site).marker not in present
    ollama = ollama_release(site).marker not in present
    grafana = site.monitoring.shows_dashboards and grafana_release(site).marker not in present
    model = both and snapshot(site).marker not in present
    vision_model = site.vision_on_vllm and vision_snapshot(site).marker not in present
    text = tuple(m for m in site.ollama.text.models if ollama_manifest("text", m) not in present)
    vision = tuple(m for m in site.ollama.vision.models if ollama_manifest("vision", m) not in present)
    return Needs(
        uv=both and uv_release().marker not in present,
        vllm=vllm,
        adapter=both and adapter_release().marker not in present,
        ollama=ollama,
        grafana=grafana,
        model=model,
        vision_model=vision_model,
        distribution_source=site.mirrors.distribution is not None and SOURCES not in present,
        driver_source=DRIVER_KEY not in present,
        toolkit_source=TOOLKIT_KEY not in present,
        text_models=text,
        vision_models=vision,
        bytes_by_folder={
            OPT: vllm * VLLM_BYTES[vllm_build(site).kind] + ollama * OLLAMA_BYTES[site.gpu] + grafana * GRAFANA_BYTES,
            site.vllm.hub_cache: model * sizes.get("model", 0) + vision_model * sizes.get("vision-model", 0),
            ollama_home("text"): sum(sizes.get(name, 0) for name in text),
            ollama_home("vision"): sum(sizes.get(name, 0) for name in vision),
        },
    )
