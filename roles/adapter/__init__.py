"""The adapter: the Ollama API on 11434, in front of vLLM. Installs and configures; roles/phase starts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from roles.adapter.wheel import wheel
from roles.host_files import directory, put_bytes, write, write_inputs
from roles.layout import (
    ADAPTER,
    ADAPTER_SOCKET,
    ADAPTER_STATE,
    ADAPTER_TOKEN,
    CACHE,
    ETC,
    LIBEXEC,
    OLLAMA_TEXT,
    OPT,
    PHASE_TARGETS,
    UNITS,
    adapter_lock,
    adapter_release,
    adapter_sources,
    ollama_version,
    snapshot,
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
    texts, settings = rendered(site), site.adapter
    if settings.require_token:
        secret_file(
            name="Put the clients' token down, for root only",
            path=ADAPTER_TOKEN,
            read=lambda: read_secret(settings.token),
        )
    release_file("Write the adapter's configuration", f"{ETC}/adapter.toml", texts["configuration"])
    release_file("Write the adapter's socket", f"{UNITS}/{ADAPTER_SOCKET}", texts["socket"])
    release_file("Write the adapter's unit", f"{UNITS}/{ADAPTER}", texts["unit"])
    write_inputs(
        inputs(site),
        {
            ADAPTER_SOCKET: {f"{UNITS}/{ADAPTER_SOCKET}": texts["socket"]},
            ADAPTER: {f"{UNITS}/{ADAPTER}": texts["unit"], f"{ETC}/adapter.toml": texts["configuration"]},
        },
    )


def rendered(site: Site) -> dict[str, str]:
    """The text of every file of this role that depends on settings."""
    pin = site.model_pin
    said = site.adapter.model_dump()
    values = said | {
        "keep_alive": duration(site.adapter.keep_alive),
        "models": [model | {"keep_alive": duration(model["keep_alive"])} for model in said["models"]],
        "release": adapter_release().name,
        "current": adapter_release().current,
        "target": PHASE_TARGETS[2],
        "libexec": LIBEXEC,
        "etc": ETC,
        "state": ADAPTER_STATE,
        "state_name": ADAPTER_STATE.removeprefix("/var/lib/"),
        "token_on_host": ADAPTER_TOKEN,
        "credential_name": CREDENTIAL,
        "credential": f"/run/credentials/{ADAPTER}/{CREDENTIAL}",  # $CREDENTIALS_DIRECTORY of systemd.exec(5)
        "snapshot": snapshot(site).path,
        "socket": ADAPTER_SOCKET,
        "service": ADAPTER,
        "ollama_text": OLLAMA_TEXT,
        "ollama_version": ollama_version(site),
        "vllm_url": f"http://127.0.0.1:{site.vllm.port}",
        "served_name": site.vllm.served_name,
        "aliases": list(site.vllm.aliases),
        "repository": site.vllm.model,
        "revision": site.model_revision or "",
        "context_length": site.vllm.max_model_len,
        "family": pin.family if pin else "",
        "parameter_size": pin.parameters if pin else "",
        "vision_url": f"http://{reachable_address(site.ollama.address)}:{site.ollama.vision.port}",
        "vision_models": list(site.ollama.vision.models),
    }
    return {
        "socket": render(__file__, "ollama-adapter.socket", **values),
        "unit": render(__file__, "ollama-adapter.service", **values),
        "configuration": render(__file__, "adapter.toml", **values),
    }


def duration(keep_alive: str) -> str:
    """`-1`, which stands for ever in Ollama's settings, with a unit, as the adapter's file wants it."""
    return f"{keep_alive}s" if keep_alive == "-1" else keep_alive


def inputs(site: Site) -> dict[str, dict[str, str]]:
    """By unit, what a start of it reads."""
    texts = rendered(site)
    return {
        ADAPTER_SOCKET: inputs_of(unit=texts["socket"]),
        ADAPTER: inputs_of(unit=texts["unit"], configuration=texts["configuration"], release=adapter_release().name),
    }
