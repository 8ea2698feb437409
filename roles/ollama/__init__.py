"""Ollama, twice: `vision` serves in both phases, `text` waits on disk, complete, for Phase 1. roles/phase starts them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Literal

from pyinfra.api import deploy

from roles.archives import FETCH, fetched
from roles.downloads import downloaded
from roles.gpus import shares_a_card
from roles.host_files import directory, install_program, write, write_inputs
from roles.layout import (
    ADAPTER,
    ADAPTER_SOCKET,
    CACHE,
    ETC,
    LIBEXEC,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    PHASE_TARGETS,
    UNITS,
    VLLM,
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

Instance = Literal["text", "vision"]
INSTANCES: tuple[Instance, ...] = ("vision", "text")
UNIT = {"text": OLLAMA_TEXT, "vision": OLLAMA_VISION}


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
    files = {UNIT[name]: {f"{UNITS}/{UNIT[name]}": rendered(site, name)["unit"]} for name in INSTANCES}
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
    """The two units of one instance."""
    settings = site.ollama.vision if instance == "vision" else site.ollama.text
    phases = (1, 2) if instance == "vision" else (1,)
    values = settings.model_dump() | {
        "instance": instance,
        "version": ollama_version(site),
        "address": site.ollama.address,
        "probe_address": reachable_address(site.ollama.address),
        "pull_port": site.ollama.pull_port,
        "registry": site.mirrors.ollama_registry,
        "current": ollama_release(site).current,
        "software": ollama_release(site).path,
        "home": ollama_home(instance),
        "libexec": LIBEXEC,
        "adapter": ADAPTER,
        "adapter_socket": ADAPTER_SOCKET,
        "vllm": VLLM,
        "targets": [PHASE_TARGETS[phase] for phase in phases],
        "gpu": site.gpu,
        "etc": ETC,
        "after_vllm": instance == "vision" and shares_a_card(site),
    }
    return {
        "unit": render(__file__, "ollama.service", **values),
        "pull": render(__file__, "ollama-models.service", **values),
    }


def inputs(site: Site) -> dict[str, dict[str, str]]:
    """By unit, what a start of it reads."""
    return {
        UNIT[instance]: inputs_of(unit=rendered(site, instance)["unit"], release=ollama_release(site).name)
        for instance in INSTANCES
    }
