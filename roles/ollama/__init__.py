"""Ollama, twice: `vision` serves in both phases, `text` waits on disk, complete, for Phase 1. roles/phase starts them.

With `vision = "vllm"` both are Phase 1's, and in Phase 2 `embed` has vision's models on loopback, for what vLLM does not serve.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal

from pyinfra.api import deploy

from roles.archives import FETCH, fetched
from roles.downloads import downloaded
from roles.gpus import makes_room
from roles.host_files import directory, install_program, write, write_inputs
from roles.layout import (
    ADAPTER,
    ADAPTER_SOCKET,
    ADAPTER_VISION,
    ADAPTER_VISION_SOCKET,
    CACHE,
    ETC,
    LIBEXEC,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    PHASE_TARGETS,
    UNITS,
    VLLM,
    VLLM_VISION,
    ollama_home,
    ollama_manifest,
    ollama_release,
    ollama_version,
)
from roles.ollama_archive import wanted_sha256
from roles.pins import pins
from roles.release_files import release_file, release_link
from roles.releases import release_installed
from roles.rendering import render
from roles.settings import reachable_address
from roles.started_with import inputs_of
from roles.system_users import system_user

if TYPE_CHECKING:
    from roles.site import Site

Instance = Literal["text", "vision", "embed"]
Store = Literal["text", "vision"]
INSTANCES: tuple[Store, ...] = ("vision", "text")
UNIT: dict[Instance, str] = {"text": OLLAMA_TEXT, "vision": OLLAMA_VISION, "embed": OLLAMA_EMBED}


def servers(site: Site) -> tuple[Instance, ...]:
    return (*INSTANCES, *(("embed",) if site.vision_on_vllm else ()))


@deploy("Ollama")
def ollama(site: Site) -> None:
    install(site)
    configure(site)
    fetch(site)


def install(site: Site) -> None:
    system_user("ollama", home="/usr/share/ollama")
    directory("Have the archives directory", f"{CACHE}/ollama")
    release_installed(name="Install Ollama", release=ollama_release(site), commands=install_commands(site))
    release_link(name="Point to this Ollama", release=ollama_release(site))


def install_commands(site: Site) -> list[str]:
    """Fetch (resuming), verify, and only then unpack. A wrong archive is deleted, and the message names the setting."""
    version, archive = ollama_version(site), pins().ollama.archive
    url = f"{site.mirrors.ollama_releases.rstrip('/')}/v{version}"
    file = shlex.quote(f"{CACHE}/ollama/{version}-{archive}")
    expected = wanted_sha256(site)
    if expected:
        known = [f"sum={expected}", "of='ollama.sha256'"]
    else:
        known = [
            f"sum=$({FETCH} {shlex.quote(url + '/sha256sum.txt')} | awk '$2 ~ /(^|\\/){archive}$/ {{print $1}}')",
            f"of='sha256sum.txt of {url}'",
        ]
    return [
        *known,
        *fetched(f"{url}/{archive}", f"{CACHE}/ollama/{version}-{archive}"),
        f'tar --extract --zstd --file {file} --directory "$RELEASE" --no-same-owner',
        '"$RELEASE/bin/ollama" --version',
        f"rm -f {file}",
    ]


def configure(site: Site) -> None:
    install_program("Install pull-models", "roles/ollama/host/pull-models")
    for instance in INSTANCES:
        texts = rendered(site, instance)
        directory(f"Have the {instance} directory", ollama_home(instance), user="ollama", group="ollama", mode="750")
        write(
            f"Write the unit that pulls the {instance} models",
            f"{UNITS}/ollama-{instance}-models.service",
            texts["pull"],
        )
        release_file(f"Write the {instance} unit", f"{UNITS}/{UNIT[instance]}", texts["unit"])
    if site.vision_on_vllm:
        release_file("Write the embed unit", f"{UNITS}/{OLLAMA_EMBED}", rendered(site, "embed")["unit"])
    files = {UNIT[name]: {f"{UNITS}/{UNIT[name]}": rendered(site, name)["unit"]} for name in servers(site)}
    write_inputs(inputs(site), files)


def fetch(site: Site) -> None:
    for instance in INSTANCES:
        models = site.ollama.vision.models if instance == "vision" else site.ollama.text.models
        downloaded(
            name=f"Pull the {instance} models",
            unit=f"ollama-{instance}-models.service",
            results=tuple(ollama_manifest(instance, model) for model in models),
            folder=ollama_home(instance),
            stall_s=site.ollama.pull_stall_s,
        )


def rendered(site: Site, instance: Instance) -> dict[str, str]:
    """The two units of one instance; that which pulls models is of use for `text` and `vision`."""
    settings = site.ollama.text if instance == "text" else site.ollama.vision
    store: Store = "text" if instance == "text" else "vision"
    own = {"port": site.ollama.vision.loopback_port, "models": site.embed_models} if instance == "embed" else {}
    address = "127.0.0.1" if instance == "embed" else site.ollama.address
    values = settings.model_dump() | {
        "instance": instance,
        "store": store,
        "version": ollama_version(site),
        "address": address,
        "probe_address": reachable_address(address),
        "pull_port": site.ollama.pull_port,
        "registry": site.mirrors.ollama_registry,
        "current": ollama_release(site).current,
        "software": ollama_release(site).path,
        "home": ollama_home(store),
        "libexec": LIBEXEC,
        "targets": [PHASE_TARGETS[phase] for phase in phases_of(site, instance)],
        "not_with": not_with(site, instance),
        "gpu": site.gpu,
        "etc": ETC,
        "after": after(site, instance),
        **own,
    }
    return {
        "unit": render(__file__, "ollama.service", **values),
        "pull": render(__file__, "ollama-models.service", **values),
    }


def phases_of(site: Site, instance: Instance) -> tuple[int, ...]:
    """The phases in which a server runs."""
    if instance == "vision":
        return (1,) if site.vision_on_vllm else (1, 2)
    return (1,) if instance == "text" else (2,)


def not_with(site: Site, instance: Instance) -> tuple[str, ...]:
    """Units of the other phase that have the port, or the models, of a server."""
    if instance == "text":
        return (ADAPTER_SOCKET, ADAPTER)
    if instance == "embed":
        return (OLLAMA_VISION,)
    return (ADAPTER_VISION_SOCKET, ADAPTER_VISION, OLLAMA_EMBED) if site.vision_on_vllm else ()


def after(site: Site, instance: Instance) -> tuple[str, ...]:
    """Units that end, or on a shared card start, before a server starts: vLLM takes its part of the memory first."""
    if not site.vision_on_vllm:
        return (*not_with(site, instance), VLLM) if instance == "text" or makes_room(site) else ()
    if instance != "embed":
        return (*not_with(site, instance), VLLM, VLLM_VISION)
    # Not after ollama-vision, which comes after it: for a start to wait for an end, one of the two is enough.
    return (VLLM, VLLM_VISION) if makes_room(site) else ()


def inputs(site: Site) -> dict[str, dict[str, str]]:
    """By unit, what a start of it reads."""
    return {
        UNIT[instance]: inputs_of(unit=rendered(site, instance)["unit"], release=ollama_release(site).name)
        for instance in servers(site)
    }
