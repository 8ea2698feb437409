"""The files that Prometheus and its exporters read, from the settings alone. Pure."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from roles.cards import FATAL_XIDS
from roles.layout import ADAPTER_TOKEN, BLACKBOX, PROMETHEUS
from roles.model_names import canonical
from roles.rendering import render
from roles.settings import reachable_address

if TYPE_CHECKING:
    from roles.monitoring.settings import MonitoringSettings
    from roles.site import Site

HERE = Path(__file__).parent
TOKEN_NAME = ADAPTER_TOKEN.rpartition("/")[2]
PLACE_OF_CREDENTIALS = "/run/credentials/{unit}/" + TOKEN_NAME
# llm-metrics and llm-check run at `check_interval_s`; after so many of them without one, and so many seconds, they have stopped.
MISSED, AT_LEAST_S = 5, 300


def configuration(site: Site, name: str) -> dict[str, str]:
    """Text by path below /etc/llm/prometheus. :param name: of the host, as alerts and dashboards call it."""
    counters = {"dcgm-counters.csv": render(__file__, "dcgm-counters.csv")} if site.gpu == "nvidia" else {}
    return {
        "prometheus.yml": prometheus_file(site, name),
        "blackbox.yml": blackbox_file(site),
        "metrics.json": json.dumps({"phase": site.phase, "mirrors": mirrors(site)}, indent=1) + "\n",
        **counters,
        **{f"rules/{subject}.yml": rules_file(subject, site.monitoring) for subject in subjects(site)},
    }


def credential(site: Site) -> str:
    """The clients' token as systemd's LoadCredential= takes it; "" where no adapter of this host asks for one."""
    return f"{TOKEN_NAME}:{ADAPTER_TOKEN}" if site.asks_for_token else ""


def prometheus_file(site: Site, name: str) -> str:
    """What is asked."""
    settings = site.monitoring
    adapter, ollama = reachable_address(site.adapter.address), reachable_address(site.ollama.address)
    both, sees = site.prepares_phase_2, site.vision_on_vllm
    return render(
        __file__,
        "prometheus.yml",
        host=name,
        interval=settings.prometheus.scrape_interval_s,
        alertmanagers=[_alertmanager(url) for url in settings.prometheus.alertmanagers],
        own=_at(settings.prometheus.address, settings.prometheus.port),
        node=_at(settings.node.address, settings.node.port),
        dcgm=_at(settings.dcgm.address, settings.dcgm.port) if site.gpu == "nvidia" else "",
        blackbox=_at(settings.blackbox.address, settings.blackbox.port),
        vllm=f"127.0.0.1:{site.vllm.port}" if both else "",
        adapter=f"{adapter}:{site.adapter.port}",
        vllm_vision=f"127.0.0.1:{site.vllm_vision.port}" if sees else "",
        adapter_vision=f"{ollama}:{site.ollama.vision.port}" if sees else "",
        token=PLACE_OF_CREDENTIALS.format(unit=PROMETHEUS) if site.asks_for_token else "",
        probes={
            "text": f"http://{adapter if both else ollama}:{site.ollama.text.port}/api/tags",
            "vision": f"http://{ollama}:{site.ollama.vision.port}/api/tags",
        },
    )


def blackbox_file(site: Site) -> str:
    """How both servers are asked: each has to list models, and those that it has in both phases by name."""
    both_phases = {canonical(name) for name in site.ollama.text.models}
    if site.prepares_phase_2:
        both_phases &= {canonical(name) for name in site.vllm.aliases}
    return render(
        __file__,
        "blackbox.yml",
        modules={
            "text": [_listed(name) for name in sorted(both_phases)] or ['"models"'],
            "vision": [_listed(canonical(name)) for name in site.ollama.vision.models] or ['"models"'],
        },
        token=PLACE_OF_CREDENTIALS.format(unit=BLACKBOX) if site.asks_for_token else "",
    )


def subjects(site: Site) -> tuple[str, ...]:
    """The rule files of a host, by name."""
    phase_2 = ("vllm", "adapter") if site.prepares_phase_2 else ()
    return (*phase_2, "servers", *(("gpu",) if site.gpu == "nvidia" else ()), "host", "phase", "monitoring")


def rules_file(subject: str, settings: MonitoringSettings) -> str:
    """The alert rules of one subject; `<< name >>` in rules/ is a setting, since Prometheus' own templates have `{{ }}`."""
    stopped = max(MISSED * settings.check_interval_s, AT_LEAST_S)
    return (
        _rules()
        .get_template(f"{subject}.yml")
        .render(
            settings.alerts.model_dump(),
            fatal_xids=" or ".join(f"DCGM_FI_DEV_XID_ERRORS == {code}" for code in FATAL_XIDS),
            check_stopped_s=stopped,
            metrics_stopped_s=stopped,
        )
    )


def mirrors(site: Site) -> dict[str, str]:
    """By setting, where a deploy of this host would fetch from over the network."""
    if not site.monitoring.watch_mirrors:
        return {}
    wanted = site.mirrors
    used = {
        "distribution": wanted.distribution,
        "ollama_releases": wanted.ollama_releases,
        "ollama_registry": wanted.ollama_registry,
        **({"grafana_releases": wanted.grafana_releases} if site.monitoring.shows_dashboards else {}),
        **({"docker": wanted.docker} if site.docker.source == "docker" else {}),
        **({"cuda_repositories": wanted.cuda_repositories} if site.gpu == "nvidia" else {}),
        **(
            {"container_toolkit": wanted.container_toolkit}
            if site.gpu == "nvidia" and site.docker.source != "none"
            else {}
        ),
        **({"python_index": wanted.python_index, "hub": wanted.hub} if site.prepares_phase_2 else {}),
    }
    return {name: url for name, url in used.items() if url}


def _at(address: str, port: int) -> str:
    return f"{reachable_address(address)}:{port}"


def _listed(name: str) -> str:
    """A pattern for a model in the answer of /api/tags. Both servers say the full name, with its tag."""
    return f'"{re.escape(name)}"'


def _alertmanager(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    return {"scheme": parts.scheme, "target": parts.netloc, "prefix": parts.path.rstrip("/")}


@cache
def _rules() -> Environment:
    return Environment(
        loader=FileSystemLoader(HERE / "rules"),
        undefined=StrictUndefined,
        variable_start_string="<<",
        variable_end_string=">>",
        keep_trailing_newline=True,
        autoescape=False,
    )
