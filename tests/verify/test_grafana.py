"""Grafana: it answers, where it should and only with a password, and shows the dashboards of this checkout."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from roles.layout import GRAFANA, GRAFANA_PASSWORD
from roles.monitoring.grafana import configuration, dashboards
from roles.site import Site
from tests.verify.conftest import Expect, Run
from tests.verify.seen import Listener, addresses_of, comparable
from tests.verify.targets import Target
from tests.verify.web import Endpoint

SOURCE = "/api/datasources/proxy/uid/prometheus/api/v1"


@pytest.fixture
def grafana(target: Target, site: Site, endpoint: Callable[[str, int], Endpoint]) -> Endpoint:
    """Where it listens; skips where the settings want none."""
    if not site.monitoring.shows_dashboards:
        pytest.skip(f"{target.name} has no Grafana of its own (monitoring.stack, monitoring.grafana.enabled)")
    return endpoint(site.monitoring.grafana.address, site.monitoring.grafana.port)


@pytest.fixture
def as_admin(grafana: Endpoint, site: Site, run: Run) -> Callable[[str], Any]:
    """What it answers its administrator. The password stays on the host, and in no argument: printf is the shell's own."""

    def ask(path: str) -> Any:
        login = f"""printf 'user = "admin:%s"\\n' "$(cat {GRAFANA_PASSWORD})" """
        status, out, err = run(f"{login} | curl -sS -m 60 -f -K - '{grafana.base}{path}'")
        assert status == 0, f"{grafana.base}{path}: {err.strip()}; journalctl -u {GRAFANA} -n 20"
        return json.loads(out)

    return ask


def test_it_is_up_with_its_database(grafana: Endpoint, expect: Expect) -> None:
    expect("/api/health", {"database": "ok"}, {"database": grafana.get("/api/health").json()["database"]})


def test_it_listens_where_the_settings_say_and_nowhere_else(
    grafana: Endpoint, site: Site, listeners: list[Listener], expect: Expect
) -> None:
    port, address = site.monitoring.grafana.port, comparable(site.monitoring.grafana.address)
    expect("addresses that listen", {f"port {port}": [address]}, {f"port {port}": addresses_of(port, listeners)})


def test_it_runs_and_will_after_a_boot(grafana: Endpoint, run: Run, expect: Expect) -> None:
    seen = run(f"systemctl is-active {GRAFANA}; systemctl is-enabled {GRAFANA}")[1].split()
    expect(GRAFANA, {"state": ["active", "enabled"]}, {"state": seen})


def test_whoever_has_no_password_sees_what_the_settings_say(grafana: Endpoint, site: Site, expect: Expect) -> None:
    wanted = {"search": 200 if site.monitoring.grafana.anonymous else 401, "data sources": 403}
    wanted |= {} if site.monitoring.grafana.anonymous else {"data sources": 401}
    seen = {"search": grafana.get("/api/search").status, "data sources": grafana.get("/api/datasources").status}
    expect("answers without a password", wanted, seen)


def test_its_files_are_those_that_deploy_wrote(grafana: Endpoint, site: Site, run: Run, expect: Expect) -> None:
    wanted = configuration(site) | dashboards()
    wrong = [path for path, text in wanted.items() if run(f"cat {path}")[1] != text]
    expect("files of Grafana that differ", {"files": []}, {"files": wrong})


def test_it_shows_every_dashboard(as_admin: Callable[[str], Any], expect: Expect) -> None:
    wanted = sorted(json.loads(text)["uid"] for text in dashboards().values())
    seen = [one["uid"] for one in as_admin("/api/search?type=dash-db") if one["uid"].startswith("llm-")]
    expect("dashboards", {"uid": wanted}, {"uid": sorted(seen)})


def test_its_data_source_is_the_hosts_prometheus(as_admin: Callable[[str], Any], expect: Expect) -> None:
    found = as_admin(f"{SOURCE}/query?query=llm_phase_serving")["data"]["result"]
    expect("llm_phase_serving through Grafana", {"series": 1}, {"series": len(found)})
