"""Grafana: the pages that show what Prometheus of the same host has collected. On loopback, for a browser behind a tunnel.

What it shows is provisioned from roles/monitoring/dashboards; on the page itself nothing of it can be changed, so a deploy and
the page never disagree. Switched off, its unit stops and its database stays.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pyinfra.api import deploy
from pyinfra.operations import systemd

from roles.archives import fetched
from roles.host_files import directory, write
from roles.layout import (
    CACHE,
    ETC,
    GRAFANA,
    GRAFANA_PASSWORD,
    GRAFANA_STATE,
    UNITS,
    grafana_archive,
    grafana_release,
)
from roles.monitoring.operations import service_off, unit_current
from roles.releases import release_installed
from roles.rendering import render
from roles.secret_sources import read_secret
from roles.secrets import secret_file
from roles.settings import reachable_address

if TYPE_CHECKING:
    from roles.site import Site

FILES = f"{ETC}/grafana"
DASHBOARDS = Path(__file__).resolve().parents[1] / "dashboards"
CREDENTIAL = "admin-password"
PROVISIONED = ("alerting", "dashboards", "datasources", "plugins")  # one that is missing is an error in its journal
FOLDERS = ("", "/dashboards", "/provisioning", *(f"/provisioning/{name}" for name in PROVISIONED))


@deploy("Grafana")
def grafana_pages(site: Site) -> None:
    if not site.monitoring.shows_dashboards:
        service_off(name="Have no Grafana run", unit=GRAFANA)
        return
    install(site)
    configure(site)
    activate(site)


def install(site: Site) -> None:
    directory("Have Grafana's archive directory", f"{CACHE}/grafana")
    release_installed(name="Install Grafana", release=grafana_release(site), commands=install_commands(site))


def install_commands(site: Site) -> list[str]:
    """Fetch (resuming), verify, and only then unpack: the archive has one folder, named after the version."""
    archive = grafana_archive(site)
    file = f"{CACHE}/grafana/{archive.path.rpartition('/')[2]}"
    return [
        f"sum={archive.sha256}",
        "of='monitoring.grafana.sha256'",
        *fetched(f"{site.mirrors.grafana_releases.rstrip('/')}/{archive.path}", file),
        f'tar --extract --gzip --file {shlex.quote(file)} --directory "$RELEASE" --strip-components 1 --no-same-owner',
        '"$RELEASE/bin/grafana" --version',
        f"rm -f {shlex.quote(file)}",
    ]


def configure(site: Site) -> None:
    secret_file(
        name="Put the password of Grafana's admin down, for root only",
        path=GRAFANA_PASSWORD,
        read=lambda: read_secret(site.monitoring.grafana.password),
    )
    for folder in FOLDERS:
        directory(f"Have {FILES}{folder}", f"{FILES}{folder}")
    for path, text in configuration(site).items():
        write(f"Write Grafana's {path.rpartition('/')[2]}", path, text)
    for path, text in dashboards().items():
        write(f"Write the dashboard {path.rpartition('/')[2]}", path, text)


def activate(site: Site) -> None:
    files = (GRAFANA_PASSWORD, *configuration(site))
    unit_current(name=f"Have {GRAFANA} run with this configuration", unit=GRAFANA, paths=files)
    systemd.service(name=f"Have {GRAFANA} start at boot", service=GRAFANA, enabled=True, running=None)


def configuration(site: Site) -> dict[str, str]:
    """What a start of Grafana reads, by path: its unit, its settings, and what it is to have from the first minute."""
    settings, prometheus = site.monitoring.grafana, site.monitoring.prometheus
    values = settings.model_dump() | {
        "files": FILES,
        "overview": f"{FILES}/dashboards/overview.json",
        "state": GRAFANA_STATE,
        "state_name": GRAFANA_STATE.removeprefix("/var/lib/"),
        "software": grafana_release(site).path,
        "release": grafana_release(site).name,
        "probe_address": reachable_address(settings.address),
        "loopback": settings.address.startswith("127."),
        "password_on_host": GRAFANA_PASSWORD,
        "credential_name": CREDENTIAL,
        "credential": f"/run/credentials/{GRAFANA}/{CREDENTIAL}",  # $CREDENTIALS_DIRECTORY of systemd.exec(5)
        "prometheus_url": f"http://{reachable_address(prometheus.address)}:{prometheus.port}",
        "scrape_interval_s": prometheus.scrape_interval_s,
    }
    return {
        f"{UNITS}/{GRAFANA}": render(__file__, "llm-grafana.service", **values),
        f"{FILES}/grafana.ini": render(__file__, "grafana.ini", **values),
        f"{FILES}/provisioning/datasources/prometheus.yaml": render(__file__, "prometheus.yaml", **values),
        f"{FILES}/provisioning/dashboards/dashboards.yaml": render(__file__, "dashboards.yaml", **values),
    }


def dashboards() -> dict[str, str]:
    """Every dashboard by its path on the host. Grafana sees a new text within half a minute; it is not restarted for one."""
    files = sorted(DASHBOARDS.glob("*.json"))
    return {f"{FILES}/dashboards/{file.name}": file.read_text(encoding="utf-8") for file in files}
