"""Consumers: the services that use the host, told where the Ollama API is.

For any compose project on the host:

    docker compose --env-file /etc/llm/consumers.env up -d

For the one that `consumers.project` names, the deploy does it: each service gets its variables by one more compose file, and
is started anew when they changed. The names are those of the original system, so no service changes; addresses and model
names are the same in both phases, so a switch touches no service.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from pyinfra.api import deploy

from roles.consumer_variables import variables
from roles.consumers.operations import services_pointed
from roles.host_files import install_program, write
from roles.layout import ETC

if TYPE_CHECKING:
    from roles.site import Site


@deploy("Consumers")
def consumers(site: Site) -> None:
    if site.consumers.enabled:
        write("Write the environment of the consumers", f"{ETC}/consumers.env", environment(site))
    if site.consumers.project:
        install_program("Install point-consumers", "roles/consumers/host/point-consumers")


@deploy("Consumers")
def consumers_pointed(site: Site) -> None:
    """Last, when the servers serve: a service may ask them as soon as it starts."""
    if site.consumers.project:
        services_pointed(name="Point the services of the compose project here", description=description(site))


def environment(site: Site) -> str:
    """The environment file; `host.docker.internal` needs `extra_hosts: host.docker.internal:host-gateway` in a service."""
    return "".join(f"{key}={value}\n" for key, value in variables(site)["both"].items())


def description(site: Site) -> str:
    """What point-consumers reads."""
    by_use = variables(site)
    services = [
        {"name": one.name, "environment": by_use[one.uses], "port": one.port, "health": one.health}
        for one in site.consumers.services
    ]
    settings = site.consumers
    return json.dumps(
        {
            "project": settings.project, "files": settings.files, "services": services,
            "health_timeout_s": settings.health_timeout_s,
        }
    )  # fmt: skip
