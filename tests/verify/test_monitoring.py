"""Monitoring: Prometheus and its exporters run, listen where they should, and see everything that serves."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from roles.layout import MONITORING_UNITS
from roles.monitoring.prometheus.configuration import configuration
from roles.monitoring.settings import Listening
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.seen import Listener, addresses_of, comparable
from tests.verify.targets import Target
from tests.verify.web import Endpoint

PHASE_2_JOBS = {"adapter", "vllm", "adapter-vision", "vllm-vision"}


@pytest.fixture
def stack(target: Target, site: Site) -> dict[str, Listening]:
    """What of ours listens; skips where the settings want no stack."""
    here = {key: one for key, one in site.monitoring.listening(site.gpu).items() if one.unit in MONITORING_UNITS}
    if not here:
        pytest.skip(f"{target.name} has no monitoring of its own (monitoring.stack)")
    return here


@pytest.fixture
def prometheus(stack: dict[str, Listening], endpoint: Callable[[str, int], Endpoint]) -> Endpoint:
    one = stack["monitoring.prometheus.port"]
    return endpoint(one.address, one.port)


def settled(site: Site, look: Callable[[], dict[str, str]], well: str) -> dict[str, str]:
    """What is seen when everything is well, or after two turns of Prometheus: right after a boot nothing has been asked yet."""
    deadline = time.monotonic() + 2 * site.monitoring.prometheus.scrape_interval_s + 10
    while set((seen := look()).values()) != {well} and time.monotonic() < deadline:
        time.sleep(1)
    return seen


def asked(prometheus: Endpoint, question: str) -> list[dict[str, Any]]:
    """The result of a query."""
    found: list[dict[str, Any]] = prometheus.get(f"/api/v1/query?query={quote(question)}").json()["data"]["result"]
    return found


def test_every_unit_of_the_monitoring_runs_and_starts_at_boot(
    stack: dict[str, Listening], run: Run, expect: Expect
) -> None:
    names = [*(one.unit for one in stack.values()), "llm-metrics.timer"]
    seen = {unit: run(f"systemctl is-active {unit}; systemctl is-enabled {unit}")[1].split() for unit in names}
    expect("units", {unit: ["active", "enabled"] for unit in names}, seen)


def test_the_monitoring_listens_as_declared_and_nowhere_else(
    stack: dict[str, Listening], listeners: list[Listener], expect: Expect
) -> None:
    seen = {key: addresses_of(one.port, listeners) for key, one in stack.items()}
    wanted = {key: [comparable(one.address)] for key, one in stack.items()}
    expect("addresses that listen", wanted, seen)


def test_the_configuration_is_the_one_that_deploy_wrote(
    target: Target, site: Site, stack: dict[str, Listening], run: Run, expect: Expect
) -> None:
    wanted = configuration(site, target.name)
    seen = {path: run(f"cat /etc/llm/prometheus/{path}")[1] for path in wanted}
    wrong = [path for path in wanted if seen[path] != wanted[path]]
    expect("files below /etc/llm/prometheus that differ", {"files": []}, {"files": wrong})


def jobs_that_answer(site: Site) -> set[str]:
    """By the settings alone, what Prometheus has to ask and what has to answer it in the host's phase."""
    jobs = {"prometheus", "node", "blackbox", "blackbox-exporter"}
    if site.gpu == "nvidia":
        jobs |= {"dcgm"}
    if site.phase == 2:
        jobs |= {"vllm", "adapter"}
        if site.vision_on_vllm:
            jobs |= {"vllm-vision", "adapter-vision"}
    return jobs


def test_everything_that_serves_in_this_phase_is_seen(
    site: Site, stack: dict[str, Listening], prometheus: Endpoint, expect: Expect
) -> None:
    wanted, silent = jobs_that_answer(site), set() if site.phase == 2 else PHASE_2_JOBS

    def health() -> dict[str, str]:
        found = prometheus.get("/api/v1/targets?state=active").json()["data"]["activeTargets"]
        named = {f"{one['labels']['job']} {one['labels']['instance']}": one["health"] for one in found}
        return {name: state for name, state in named.items() if name.split()[0] not in silent}

    seen = settled(site, health, "up")
    jobs = sorted({name.split()[0] for name in seen})
    expect("jobs of Prometheus; journalctl -u prometheus", {"jobs": sorted(wanted)}, {"jobs": jobs})
    expect("targets; journalctl -u prometheus", dict.fromkeys(seen, "up"), seen)


def test_both_servers_answer_as_a_client_would_ask(
    site: Site, stack: dict[str, Listening], prometheus: Endpoint, expect: Expect
) -> None:
    def probes() -> dict[str, str]:
        return {one["metric"]["server"]: one["value"][1] for one in asked(prometheus, "probe_success")}

    expect("probe_success", {"text": "1", "vision": "1"}, settled(site, probes, "1"))


def test_every_alert_rule_can_be_judged(stack: dict[str, Listening], prometheus: Endpoint, expect: Expect) -> None:
    groups = prometheus.get("/api/v1/rules?type=alert").json()["data"]["groups"]
    seen = {rule["name"]: (rule["health"], rule.get("lastError", "")) for group in groups for rule in group["rules"]}
    assert seen, "Prometheus has no alert rule"
    # Before its first turn a rule is "unknown".
    expect("alert rules", dict.fromkeys(seen, True), {name: state[0] != "err" for name, state in seen.items()})


def test_the_hosts_own_programs_tell_its_phase(
    target: Target, site: Site, stack: dict[str, Listening], prometheus: Endpoint, expect: Expect
) -> None:
    names = ("llm_phase_inventory", "llm_phase_recorded", "llm_phase_serving")
    phase = str(site.phase)

    def phases() -> dict[str, str]:
        seen = {name: asked(prometheus, name) for name in names}
        return {name: found[0]["value"][1] if found else "nothing" for name, found in seen.items()}

    expect("phases as Prometheus knows them", dict.fromkeys(names, phase), settled(site, phases, phase))
    (written,) = asked(prometheus, 'node_textfile_mtime_seconds{file=~".*/llm.prom"}')
    # Both times are the host's: the one of the answer, and the one of the file.
    age = float(written["value"][0]) - float(written["value"][1])
    assert age < max(10 * site.monitoring.check_interval_s, 300), (
        f"{target.name}: llm-metrics wrote last {age:.0f} s ago"
    )


@pytest.mark.warning
def test_no_alert_is_due(target: Target, stack: dict[str, Listening], prometheus: Endpoint) -> None:
    firing = [one["metric"]["alertname"] for one in asked(prometheus, 'ALERTS{alertstate="firing"}')]
    assert not firing, f"{target.name}: {', '.join(sorted(set(firing)))}; Prometheus' page /alerts says what to do"
