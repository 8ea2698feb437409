"""Prometheus on the host: the distribution's packages, what they are to ask, and the alert rules. On by `monitoring.stack`.

Everything of ours lies in /etc/llm/prometheus and in one drop-in for each unit; the packages' own files stay as they came. The
drop-ins are there before the packages: a server listens where the settings say from its first start on, and does not start at all
before there is a configuration that Prometheus' own tools have checked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyinfra import host
from pyinfra.api import deploy
from pyinfra.operations import apt, systemd

from roles.host_files import directory, install_program, write
from roles.layout import (
    ADAPTER_TOKEN,
    BLACKBOX,
    DCGM_EXPORTER,
    LIBEXEC,
    METRICS,
    METRICS_SERVICE,
    METRICS_TIMER,
    MONITORING_UNITS,
    NODE_EXPORTER,
    PROMETHEUS,
    PROMETHEUS_ETC,
    UNITS,
    drop_in,
)
from roles.monitoring.operations import unit_current
from roles.monitoring.prometheus.configuration import PLACE_OF_CREDENTIALS, configuration, credential
from roles.monitoring.prometheus.operations import configuration_placed, units_stopped
from roles.monitoring_packages import packages
from roles.rendering import render

if TYPE_CHECKING:
    from roles.site import Site

READS = {
    PROMETHEUS: ("prometheus.yml", "rules/*.yml"),
    NODE_EXPORTER: (),
    BLACKBOX: ("blackbox.yml",),
    DCGM_EXPORTER: ("dcgm-counters.csv",),
}


@deploy("Prometheus")
def prometheus_stack(site: Site) -> None:
    wanted = units(site)
    if wanted:
        install(site)
        configure(site)
        run(site)
    others = tuple(unit for unit in (*MONITORING_UNITS, METRICS_TIMER) if unit not in wanted)
    units_stopped(name="Stop what is not wanted any more, and keep what it has collected", units=others)


def units(site: Site) -> tuple[str, ...]:
    """The units that run on a host, the timer last; none without the stack."""
    servers = [one.unit for one in site.monitoring.listening(site.gpu).values() if one.unit in MONITORING_UNITS]
    return (*servers, METRICS_TIMER) if servers else ()


def install(site: Site) -> None:
    for unit, text in drop_ins(site).items():
        directory(f"Have a directory for our part of {unit}", drop_in(unit).rpartition("/")[0])
        write(f"Write our part of {unit}", drop_in(unit), text)
    apt.packages(name="Install Prometheus and its exporters", packages=list(packages(site.gpu)), no_recommends=True)


def configure(site: Site) -> None:
    install_program("Install place-prometheus", "roles/monitoring/prometheus/host/place-prometheus")
    install_program("Install llm-metrics", "roles/monitoring/prometheus/host/llm-metrics")
    directory("Have a directory for the host's own metrics", METRICS)
    configuration_placed(
        name="Have what Prometheus asks and its alert rules in place, checked by its own tools first",
        folder=PROMETHEUS_ETC,
        files=configuration(site, host.name),
        stand_for=stand_for(site),
    )
    for name, text in metrics_units(site).items():
        write(f"Write {name}", f"{UNITS}/{name}", text)


def run(site: Site) -> None:
    # The order of units() is one for all hosts, and the timer stands alone: pyinfra puts the steps of all hosts into one order.
    token = (ADAPTER_TOKEN,) if site.asks_for_token else ()
    for unit in units(site)[:-1]:
        reads = tuple(f"{PROMETHEUS_ETC}/{name}" for name in READS[unit])
        secret = token if unit in (PROMETHEUS, BLACKBOX) else ()
        paths = (drop_in(unit), *reads, *secret)
        unit_current(name=f"Have {unit} run with this configuration", unit=unit, paths=paths)
        systemd.service(name=f"Have {unit} start at boot", service=unit, enabled=True, running=None)
    unit_current(
        name="Run llm-metrics by its timer",
        unit=METRICS_TIMER,
        paths=tuple(f"{UNITS}/{name}" for name in metrics_units(site)),
    )
    systemd.service(name=f"Have {METRICS_TIMER} start at boot", service=METRICS_TIMER, enabled=True, running=None)


def stand_for(site: Site) -> dict[str, str]:
    """What stands for a credential while the configuration is checked: it is there only while its service runs."""
    if not site.asks_for_token:
        return {}
    return {PLACE_OF_CREDENTIALS.format(unit=unit): ADAPTER_TOKEN for unit in (PROMETHEUS, BLACKBOX)}


def drop_ins(site: Site) -> dict[str, str]:
    """Our part of each unit that came with a package."""
    settings = site.monitoring
    values = {
        "etc": PROMETHEUS_ETC,
        "metrics": METRICS,
        "days": settings.prometheus.retention_days,
        "size": settings.prometheus.retention_size,
        "token": credential(site),
    }
    return {
        one.unit: render(
            __file__, f"{one.unit.removesuffix('.service')}.conf", listen=f"{one.address}:{one.port}", **values
        )
        for one in settings.listening(site.gpu).values()
        if one.unit in MONITORING_UNITS
    }


def metrics_units(site: Site) -> dict[str, str]:
    """The units of llm-metrics."""
    values = {"libexec": LIBEXEC, "etc": PROMETHEUS_ETC, "metrics": METRICS}
    return {
        METRICS_SERVICE: render(__file__, METRICS_SERVICE, **values),
        METRICS_TIMER: render(__file__, METRICS_TIMER, interval=site.monitoring.check_interval_s),
    }
