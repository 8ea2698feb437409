"""Consumers: the file that tells compose projects on this host where the Ollama API is.

    docker compose --env-file /etc/llm/consumers.env up -d

The names are those of the original system, so no service changes; the addresses are the same in both phases.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra.api import deploy

from roles.host_files import write
from roles.layout import ETC

if TYPE_CHECKING:
    from roles.site import Site


@deploy("Consumers")
def consumers(site: Site) -> None:
    if site.consumers.enabled:
        write("Write the environment of the consumers", f"{ETC}/consumers.env", environment(site))


def environment(site: Site) -> str:
    """The environment file; `host.docker.internal` needs `extra_hosts: host.docker.internal:host-gateway` in a service."""
    values = {
        "OLLAMA_URL": site.ollama_url,
        "OLLAMA_MODEL": site.vllm.aliases[0],
        "VISION_OLLAMA_URL": site.vision_ollama_url,
        "VISION_MODEL": site.ollama.vision.models[0],
    }
    return "".join(f"{key}={value}\n" for key, value in values.items())
