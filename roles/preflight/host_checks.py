"""Judgements on the host itself: system, rights, ports, disk. Survey and settings in, findings out; no I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from posixpath import basename

from roles.facts.survey import Listener, Survey
from roles.layout import ADAPTER_TOKEN, GRAFANA, GRAFANA_PASSWORD, MONITORING_UNITS, OUR_UNITS, PHASE_TARGETS, drop_in
from roles.preflight.findings import Finding, error, note, warning
from roles.preflight.needs import Needs
from roles.secret_sources import SecretError
from roles.site import Site

SUPPORTED = {"debian": ("12", "13"), "ubuntu": ("22.04", "24.04", "26.04")}
GB = 10**9
SHORT_TOKEN = 16  # characters; below that somebody who tries has a chance
SHORT_PASSWORD = 12
RESERVE = 2 * GB  # what the system keeps: journal, package manager, temporary files


def host_findings(site: Site, survey: Survey, needs: Needs) -> list[Finding]:
    """Everything about the host that speaks against, or should be known before, the first change."""
    return [
        *_platform(site, survey),
        *_ports(site, survey),
        *_monitoring(site, survey),
        *_disk(survey, needs),
        *_reach(site),
    ]


def _platform(site: Site, survey: Survey) -> Iterator[Finding]:
    if survey.uid != 0:
        yield error(
            "user", f"connected as uid {survey.uid}, not root", "set _sudo = True in inventory/group_data/all.py"
        )
    if survey.init != "systemd":
        yield error(
            "init", f"process 1 is {survey.init!r}, not systemd", "use a host in the inventory that boots with systemd"
        )
    if survey.os_version not in SUPPORTED.get(survey.os, ()):
        known = "; ".join(f"{name} {', '.join(versions)}" for name, versions in SUPPORTED.items())
        yield error(
            "system", f"{survey.os} {survey.os_version} is not supported", f"use a host in the inventory with {known}"
        )
    if survey.arch != "x86_64":
        yield error("arch", f"{survey.arch} has no wheels in files/locks", "use an x86_64 host in the inventory")


def _ports(site: Site, survey: Survey) -> Iterator[Finding]:
    ports = {"adapter.port": site.adapter.port, "ollama.vision.port": site.ollama.vision.port}
    if site.phase == 2:
        ports["vllm.port"] = site.vllm.port
        if site.vision_on_vllm:
            ports["vllm_vision.port"] = site.vllm_vision.port
            ports["ollama.vision.loopback_port"] = site.ollama.vision.loopback_port
    ours = OUR_UNITS | {GRAFANA} | {unit for unit in MONITORING_UNITS if drop_in(unit) in survey.present}
    watching = site.monitoring.listening(site.gpu)
    ports |= {key: one.port for key, one in watching.items()}
    for key, port in ports.items():
        for holder in survey.listeners:
            # Of a unit that somebody else has set up, another finding says that it cannot be ours too.
            if holder.port == port and holder.unit not in ours | {one.unit for one in watching.values()}:
                yield error(f"port {port}", f"{key} is held by {_who(holder)}", _how_to_free(holder, key))


def _monitoring(site: Site, survey: Survey) -> Iterator[Finding]:
    """Whether the units of the stack are free for us, and whether anybody is told of an alert."""
    for one in site.monitoring.listening(site.gpu).values():
        holders = [holder for holder in survey.listeners if holder.unit == one.unit]
        if holders and one.unit in MONITORING_UNITS and drop_in(one.unit) not in survey.present:
            yield error(
                "monitoring.stack",
                f"{one.unit} runs on this host already, on port {holders[0].port}, with settings of somebody else",
                f"systemctl disable --now {one.unit} on the host, or set monitoring.stack = False",
            )
    if site.monitoring.stack and not site.monitoring.prometheus.alertmanagers:
        yield warning(
            "monitoring.prometheus.alertmanagers",
            "nobody is told of an alert: it is seen on Prometheus' page alone",
            "set monitoring.prometheus.alertmanagers to where yours listens",
        )


def _who(holder: Listener) -> str:
    if not holder.pid:
        return f"a process outside this host's view, on {holder.address}"
    unit = f", {holder.unit}" if holder.unit else ""
    return f"{holder.command} (pid {holder.pid}{unit}) on {holder.address}"


def _how_to_free(holder: Listener, key: str) -> str:
    if holder.command == "docker-proxy":
        return f"docker ps --filter publish={holder.port} names the container: docker stop it, or choose another {key}"
    if holder.unit.endswith((".service", ".socket")):
        return f"systemctl disable --now {holder.unit} on the host, or choose another {key}"
    if not holder.pid:
        return f"ss -ltnp 'sport = {holder.port}' where that process runs, or choose another {key}"
    return f"kill {holder.pid} on the host, or choose another {key}"


def _disk(survey: Survey, needs: Needs) -> Iterator[Finding]:
    """Folders on one file system draw from one pool."""
    wanted: dict[int, list[tuple[str, int]]] = {}
    for folder, size in needs.bytes_by_folder.items():
        wanted.setdefault(survey.device[folder], []).append((folder, size))
    for shares in wanted.values():
        total, free = sum(size for _, size in shares), survey.free[shares[0][0]]
        if total and total + RESERVE > free:
            parts = ", ".join(f"{folder} {size / GB:.1f} GB" for folder, size in shares if size)
            yield error(
                "disk",
                f"{(total + RESERVE) / GB:.1f} GB needed ({parts}, reserve {RESERVE / GB:.0f} GB), {free / GB:.1f} GB free",
                "du -xh -d1 /opt /var/lib on the host says what fills it; free some, or mount a disk at one of these folders",
            )


def consumer_findings(site: Site, survey: Survey, docker: str) -> list[Finding]:
    """Whether the compose project of the consumers is there, and something to run it. :param docker: path of its program."""
    found = []
    for group in site.consumers.wanted_files:
        if not any(path in survey.present for path in group):
            key = "consumers.files" if site.consumers.files else "consumers.project"
            what = group[0] if len(group) == 1 else f"{site.consumers.project} with {', '.join(map(basename, group))}"
            remedy = "put the project on the host, correct the setting, or unset consumers.project"
            found.append(error(key, f"not on the host: {what}", remedy))
    if site.consumers.project and site.docker.source == "none" and docker not in survey.present:
        remedy = 'set docker.source = "distribution" (or "docker"), or unset consumers.project'
        found.append(error("consumers.project", "there is no Docker on the host, and none is to be installed", remedy))
    return found


def token_findings(site: Site, survey: Survey, token: str | None) -> list[Finding]:
    """Whether clients can be asked for a token. What it is appears in no finding.

    :param token: what the controller has.
    """
    source = site.adapter.token
    if not site.asks_for_token:
        return []
    if token is None and ADAPTER_TOKEN not in survey.present:
        return [
            error(
                "adapter.require_token",
                f"there is no token: {source.place} on this machine is empty, "
                "and the host has none from an earlier run",
                f"{source.remedy('…')}, or name a {'' if source.file else 'file with adapter.token_file, or a '}"
                "command with adapter.token_command",
            )
        ]
    if token is not None and not re.fullmatch(r"[!#-\[\]-~]+", token):
        fact = "the token has a blank, a quotation mark, a backslash or a character beyond ASCII"
        return [error(source.setting, fact, "openssl rand -hex 32 makes a good one")]
    if token is not None and len(token) < SHORT_TOKEN:
        return [
            warning(source.setting, f"the token has {len(token)} characters", "openssl rand -hex 32 makes a good one")
        ]
    return []


def password_findings(site: Site, survey: Survey, password: str | None) -> list[Finding]:
    """Whether Grafana's admin gets a password of the operator's. What it is appears in no finding.

    :param password: what the controller has.
    """
    source = site.monitoring.grafana.password
    if not site.monitoring.shows_dashboards:
        return []
    if password is None and GRAFANA_PASSWORD not in survey.present:
        return [
            error(
                source.setting,
                f"Grafana's admin has no password: {source.place} on this machine is empty, "
                "and the host has none from an earlier run",
                f'{source.remedy("…")}, or set monitoring.grafana = {{"enabled": False}}',
            )
        ]
    if password is not None and len(password) < SHORT_PASSWORD:
        fact = f"the password of Grafana's admin has {len(password)} characters"
        return [warning(source.setting, fact, "openssl rand -hex 16 makes a good one")]
    return []


def _reach(site: Site) -> Iterator[Finding]:
    if "0.0.0.0" in (site.adapter.address, site.ollama.address):
        asked = f"; only the adapter asks for a token, Phase 1 on {site.adapter.port} does not"
        yield note(
            "exposure",
            f"{site.adapter.port} and {site.ollama.vision.port} answer on every network of the host, without a password"
            f"{asked if site.asks_for_token else ''}; adapter.address and ollama.address narrow that",
        )
    alone = "" if site.prepares_phase_2 else "; vLLM and the adapter are not prepared: no card here can run them"
    yield note("phase", f"the host will come up in {PHASE_TARGETS[site.phase]} at every boot{alone}")


def settings_findings(problems: Sequence[str]) -> list[Finding]:
    """Of settings that are not valid; each problem is `key: cause`."""
    return [
        error(
            key,
            cause,
            f"correct {key} in inventory/group_data/all.py or in the host's data; docs/settings.md has all keys",
        )
        for key, _, cause in (line.partition(": ") for line in problems)
    ]


def without_python() -> Finding:
    """A host of which nothing can be known."""
    return error("python3", "the host does not run python3", "apt-get install python3 on the host")


def without_survey() -> Finding:
    """A host whose python3 does not run our script."""
    return error("survey", "the host could not be looked at", "python3 --version on the host: it must be 3.9 or newer")


def unreadable_secret(problem: SecretError) -> Finding:
    """A token that the controller should have, and that cannot be read there."""
    return error(problem.key, problem.cause, problem.remedy)
