"""The adapter: the Ollama API on 11434, in front of vLLM; with `vision = "vllm"` another one on 11435, before the vLLM that sees.

Installs and configures; roles/phase starts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pyinfra.api import deploy

from roles.adapter.wheel import wheel
from roles.host_files import directory, put_bytes, write, write_inputs
from roles.layout import (
    ADAPTER,
    ADAPTER_SOCKET,
    ADAPTER_STATE,
    ADAPTER_TOKEN,
    ADAPTER_VISION,
    ADAPTER_VISION_SOCKET,
    ADAPTER_VISION_STATE,
    CACHE,
    ETC,
    LIBEXEC,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    OPT,
    PHASE_TARGETS,
    UNITS,
    adapter_lock,
    adapter_release,
    adapter_sources,
    ollama_version,
    snapshot,
    vision_snapshot,
)
from roles.release_files import release_file, release_link
from roles.releases import index_option, release_installed, uv, uv_environment
from roles.rendering import render
from roles.secret_sources import read_secret
from roles.secrets import secret_file
from roles.settings import reachable_address
from roles.started_with import inputs_of

if TYPE_CHECKING:
    from roles.site import Site


CREDENTIAL = "token"


@dataclass(frozen=True)
class Instance:
    """What tells one adapter of a host from the other. `phase_1`: the server whose port it has in Phase 2."""

    name: str
    unit: str
    socket: str
    configuration: str
    state: str
    phase_1: str


TEXT = Instance("adapter", ADAPTER, ADAPTER_SOCKET, f"{ETC}/adapter.toml", ADAPTER_STATE, OLLAMA_TEXT)
VISION = Instance(
    "vision adapter",
    ADAPTER_VISION,
    ADAPTER_VISION_SOCKET,
    f"{ETC}/adapter-vision.toml",
    ADAPTER_VISION_STATE,
    OLLAMA_VISION,
)


def instances(site: Site) -> tuple[Instance, ...]:
    return (TEXT, VISION) if site.vision_on_vllm else (TEXT,)


@deploy("Adapter")
def adapter(site: Site) -> None:
    if not site.prepares_phase_2:
        return
    install(site)
    configure(site)


def install(site: Site) -> None:
    release = adapter_release()
    name, content = wheel(adapter_sources())
    folder = f"{CACHE}/wheels/adapter-{release.name}"
    directory("Have the adapter's wheel directory", folder)
    put_bytes("Write the adapter's wheel", f"{folder}/{name}", content)
    write("Write the adapter's lock", f"{OPT}/locks/adapter.lock", adapter_lock())
    index = index_option(site.mirrors.python_index)
    pip = f'{uv()} pip install --quiet --python "$RELEASE" --no-deps'
    release_installed(
        name=f"Install the adapter {release.name}",
        release=release,
        commands=[
            uv_environment(site.mirrors.python_builds),
            f'{uv()} venv --quiet --clear --python-preference system "$RELEASE"',
            f"{pip} --require-hashes {index} -r {OPT}/locks/adapter.lock",
            f"{pip} --no-index {folder}/{name}",
            '"$RELEASE/bin/python" -I -m ollama_adapter --version',
        ],
    )
    release_link(name="Point to this adapter", release=release)


def configure(site: Site) -> None:
    settings = site.adapter
    if settings.require_token:
        secret_file(
            name="Put the clients' token down, for root only",
            path=ADAPTER_TOKEN,
            read=lambda: read_secret(settings.token),
        )
    files = {}
    for instance in instances(site):
        texts, socket, unit = rendered(site, instance), f"{UNITS}/{instance.socket}", f"{UNITS}/{instance.unit}"
        release_file(f"Write the {instance.name}'s configuration", instance.configuration, texts["configuration"])
        release_file(f"Write the {instance.name}'s socket", socket, texts["socket"])
        release_file(f"Write the {instance.name}'s unit", unit, texts["unit"])
        files[instance.socket] = {socket: texts["socket"]}
        files[instance.unit] = {unit: texts["unit"], instance.configuration: texts["configuration"]}
    write_inputs(inputs(site), files)


def rendered(site: Site, instance: Instance = TEXT) -> dict[str, str]:
    """The text of every file of one adapter that depends on settings."""
    said = site.adapter.model_dump()
    values = said | {
        "keep_alive": duration(site.adapter.keep_alive),
        "models": [model | {"keep_alive": duration(model["keep_alive"])} for model in said["models"]],
        "release": adapter_release().name,
        "current": adapter_release().current,
        "target": PHASE_TARGETS[2],
        "libexec": LIBEXEC,
        "configuration": instance.configuration,
        "state": instance.state,
        "state_name": instance.state.removeprefix("/var/lib/"),
        "user": instance.unit.removesuffix(".service"),
        "token_on_host": ADAPTER_TOKEN,
        "credential_name": CREDENTIAL,
        "credential": f"/run/credentials/{ADAPTER}/{CREDENTIAL}",  # $CREDENTIALS_DIRECTORY of systemd.exec(5)
        "socket": instance.socket,
        "service": instance.unit,
        "not_with": instance.phase_1,
        "ollama_version": ollama_version(site),
        **(_before_text(site) if instance is TEXT else _before_vision(site)),
    }
    return {
        "socket": render(__file__, "ollama-adapter.socket", **values),
        "unit": render(__file__, "ollama-adapter.service", **values),
        "configuration": render(__file__, "adapter.toml", **values),
    }


def _before_text(site: Site) -> dict[str, Any]:
    """What stands behind 11434: vLLM, and for pictures and embeddings whatever serves 11435."""
    pin = site.model_pin
    return {
        "snapshot": snapshot(site).path,
        "vllm_url": f"http://127.0.0.1:{site.vllm.port}",
        "served_name": site.vllm.served_name,
        "aliases": list(site.vllm.aliases),
        "repository": site.vllm.model,
        "revision": site.model_revision or "",
        "context_length": site.vllm.max_model_len,
        "family": pin.family if pin else "",
        "parameter_size": pin.parameters if pin else "",
        "vision_url": f"http://{reachable_address(site.ollama.address)}:{site.ollama.vision.port}",
        "vision_models": list(site.vision_models),
    }


def _before_vision(site: Site) -> dict[str, Any]:
    """What stands behind 11435: the vLLM that sees, and an Ollama on loopback for the rest.

    Its clients are those of Ollama Vision, which asks nobody for a token; replicas and further models are 11434's.
    """
    settings, pin = site.vllm_vision, site.vision_model_pin
    return {
        "address": site.ollama.address,
        "port": site.ollama.vision.port,
        "require_token": False,
        "processes": 1,
        "replicas": [],
        "models": [],
        "capabilities": list(settings.capabilities),
        "fim_template": "",
        "model_directory": None,
        "snapshot": vision_snapshot(site).path,
        "vllm_url": f"http://127.0.0.1:{settings.port}",
        "served_name": settings.served_name,
        "aliases": list(settings.aliases),
        "repository": settings.model,
        "revision": site.vision_model_revision or "",
        "context_length": settings.max_model_len,
        "family": pin.family if pin else "",
        "parameter_size": pin.parameters if pin else "",
        "vision_url": f"http://127.0.0.1:{site.ollama.vision.loopback_port}",
        "vision_models": list(site.embed_models),
    }


def duration(keep_alive: str) -> str:
    """`-1`, which stands for ever in Ollama's settings, with a unit, as the adapter's file wants it."""
    return f"{keep_alive}s" if keep_alive == "-1" else keep_alive


def inputs(site: Site) -> dict[str, dict[str, str]]:
    """By unit, what a start of it reads."""
    found = {}
    for instance in instances(site):
        texts = rendered(site, instance)
        found[instance.socket] = inputs_of(unit=texts["socket"])
        found[instance.unit] = inputs_of(
            unit=texts["unit"], configuration=texts["configuration"], release=adapter_release().name
        )
    return found
