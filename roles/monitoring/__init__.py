"""Monitoring: the host asks its own services every minute; a check that fails is a failed unit with the reason in its journal.

systemctl list-units --failed; journalctl -u llm-check

With `monitoring.stack` the host has Prometheus, exporters and alert rules of its own, see prometheus/.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from pyinfra.api import deploy
from pyinfra.operations import systemd

from roles.host_files import write
from roles.layout import (
    ADAPTER,
    ADAPTER_VISION,
    CREDENTIALS,
    LIBEXEC,
    OLLAMA_EMBED,
    OLLAMA_TEXT,
    OLLAMA_VISION,
    UNITS,
    VLLM,
    VLLM_VISION,
)
from roles.monitoring.grafana import grafana_pages
from roles.monitoring.prometheus import prometheus_stack
from roles.monitoring.prometheus.configuration import TOKEN_NAME, credential
from roles.rendering import render
from roles.settings import reachable_address

if TYPE_CHECKING:
    from roles.site import Site


@deploy("Monitoring")
def monitoring(site: Site) -> None:
    write(
        "Write llm-check",
        f"{LIBEXEC}/llm-check",
        render(__file__, "llm-check", checks=checks(site), libexec=LIBEXEC),
        "755",
    )
    interval = site.monitoring.check_interval_s
    write(
        "Write the unit of llm-check",
        f"{UNITS}/llm-check.service",
        check_unit(site),
    )
    write("Write its timer", f"{UNITS}/llm-check.timer", render(__file__, "llm-check.timer", interval=interval))
    systemd.service(name="Run llm-check by its timer", service="llm-check.timer", running=True, enabled=True)
    prometheus_stack(site=site)
    grafana_pages(site=site)


def checks(site: Site) -> dict[str, str]:
    """By unit, how it is asked while it runs: health and models, no generation, so that watching costs nothing."""
    adapter, ollama = reachable_address(site.adapter.address), reachable_address(site.ollama.address)
    asked = {
        VLLM: ("vllm", "127.0.0.1", site.vllm.port, (site.vllm.served_name,)),
        ADAPTER: ("adapter", adapter, site.adapter.port, site.vllm.aliases),
        OLLAMA_TEXT: ("ollama", ollama, site.ollama.text.port, site.ollama.text.models),
        OLLAMA_VISION: ("ollama", ollama, site.ollama.vision.port, site.ollama.vision.models),
    }
    if site.vision_on_vllm:
        sees, port = site.vllm_vision, site.ollama.vision.loopback_port
        asked |= {
            OLLAMA_EMBED: ("ollama", "127.0.0.1", port, site.embed_models),
            VLLM_VISION: ("vllm", "127.0.0.1", sees.port, (sees.served_name,)),
            ADAPTER_VISION: ("adapter", ollama, site.ollama.vision.port, (*sees.aliases, *site.embed_models)),
        }
    commands = {
        unit: shlex.join(
            [service, "--address", address, "--port", str(port), *(w for name in names for w in ("--model", name))]
        )
        for unit, (service, address, port, names) in asked.items()
    }
    if site.asks_for_token:
        # As a service it has the token as a credential; by hand root reads it where it lies.
        commands[ADAPTER] += f' --token-file "${{CREDENTIALS_DIRECTORY:-{CREDENTIALS}}}/{TOKEN_NAME}"'
    return commands


def check_unit(site: Site) -> str:
    """The unit of llm-check."""
    return render(__file__, "llm-check.service", libexec=LIBEXEC, token=credential(site))
