"""Grafana on a real host, played by its stand-in over a real Prometheus: its password, its dashboards, its silence.

LLM_DASHBOARD_KEEP=FILE.html makes traffic for ten minutes and keeps the overview's page (`python -m lab.pictures`).
"""

from __future__ import annotations

import json
import os
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from lab import Host
from roles.layout import GRAFANA, GRAFANA_PASSWORD, GRAFANA_STATE
from tests.lab.deployments import Operator
from tests.lab.test_deploy import started_at
from tests.lab.test_monitoring import PLACE
from tests.lab.traffic import traffic
from tests.lab.vllm_probes import wait_until

pytestmark = pytest.mark.lab
ON = ("--data", "monitoring.stack=true", "--data", "monitoring.prometheus.scrape_interval_s=5")
VARIABLE = "GRAFANA_ADMIN_PASSWORD"
PASSWORD, NEXT_PASSWORD = "opens-in-the-lab-1", "opens-in-the-lab-2"
URL = "http://127.0.0.1:3001"
PAGES = {"llm-overview", "llm-vllm", "llm-adapter", "llm-gpu", "llm-host"}
KEEP = os.environ.get("LLM_DASHBOARD_KEEP")
STEP = "Monitoring | Grafana | "
RUNS = f"{STEP}Have {GRAFANA} run with this configuration"


def answer(host: Host, path: str, password: str | None = PASSWORD) -> tuple[int, str]:
    """Status and body that Grafana answers the host itself. The password goes over standard input, as an operator's would."""
    login = f'user = "admin:{password}"\n' if password else ""
    command = f"curl -sS -m 60 -K - -w '\\n%{{http_code}}' {shlex.quote(URL + path)}"
    body, _, status = host.ssh(command, stdin=login, timeout=90).stdout.rpartition("\n")
    return int(status), body


def said(host: Host, path: str) -> Any:
    status, body = answer(host, path)
    assert status == 200, (path, status, body)
    return json.loads(body)


def series(host: Host, question: str) -> list[Any]:
    """What Prometheus answers through Grafana's data source, as a panel asks."""
    path = f"/api/datasources/proxy/uid/prometheus/api/v1/query?query={quote(question)}"
    found: list[Any] = said(host, path)["data"]["result"]
    return found


@pytest.fixture(scope="module")
def seen(operator: Operator, served: tuple[Host, Host]) -> Iterator[Host]:
    """The Phase-2 host with the stack and its dashboards; afterwards it is without both."""
    host = served[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, PASSWORD)
        done = operator.deploy(*ON, hosts=[host])
        assert done.status == 0, done.output
        assert PASSWORD not in done.output
        yield host
    off = operator.deploy(hosts=[host])
    assert off.status == 0, off.output


def test_it_is_up_and_a_second_deploy_changes_nothing(operator: Operator, seen: Host) -> None:
    assert json.loads(answer(seen, "/api/health", None)[1])["database"] == "ok"
    again = operator.deploy(*ON, hosts=[seen])
    assert again.status == 0, again.output
    assert again.changed == []


def test_it_asks_for_the_password_and_listens_on_loopback_alone(seen: Host) -> None:
    assert said(seen, "/api/user")["login"] == "admin"
    assert answer(seen, "/api/search", None)[0] == 401
    assert answer(seen, "/api/search", "guessed-by-somebody")[0] == 401
    assert answer(seen, "/d/llm-overview", None)[0] == 302
    assert seen.ssh("ss -Hltn 'sport = 3001' | awk '{print $4}'").stdout.split() == ["127.0.0.1:3001"]


def test_every_dashboard_is_there_and_cannot_be_changed_on_the_page(seen: Host) -> None:
    found = {one["uid"]: one["folderTitle"] for one in said(seen, "/api/search")}
    assert found == dict.fromkeys(PAGES, "GPU inference host")
    assert said(seen, "/api/dashboards/uid/llm-overview")["meta"]["canSave"] is False
    (source,) = said(seen, "/api/datasources")
    assert (source["uid"], source["isDefault"], source["readOnly"]) == ("prometheus", True, True)


def test_traffic_is_drawn(seen: Host) -> None:
    with traffic(seen, clients=6 if KEEP else 2, wave_s=270):
        time.sleep(10 * 60 if KEEP else 20)
        wait_until("requests are counted", lambda: bool(series(seen, "ollama_adapter_requests_total > 3")), 60)
        if KEEP:
            Path(KEEP).write_text(answer(seen, "/d/llm-overview?from=now-10m&to=now&width=1600")[1], encoding="utf-8")
    status, page = answer(seen, "/d/llm-overview?from=now-5m&to=now")
    assert status == 200
    assert "stand-in for Grafana" in page
    assert 'class="failed"' not in page
    panels = dict(re.findall(r"<section[^>]*><h2>([^<]+)</h2>(.*?)</section>", page))
    for title in ("Requests by status", "Time to the first token", "Queue of vLLM", "KV cache in use", "Disk in use"):
        assert "<path" in panels[title], (title, panels[title])
    for title, text in {"Phase": "2 · vLLM", "Text answers (11434)": "yes", "Vision answers (11435)": "yes"}.items():
        assert text in panels[title], (title, panels[title])
    assert "no card" in panels["Memory of the cards"]


@pytest.mark.slow
def test_a_new_password_restarts_grafana_alone_and_stands_nowhere(
    operator: Operator, seen: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    prometheus = started_at(seen, "prometheus.service")
    monkeypatch.setenv(VARIABLE, NEXT_PASSWORD)
    done = operator.deploy(*ON, hosts=[seen])
    assert done.status == 0, done.output
    assert done.changed == [f"{STEP}Put the password of Grafana's admin down, for root only", RUNS]
    assert [answer(seen, "/api/user", one)[0] for one in (PASSWORD, NEXT_PASSWORD)] == [401, 200]
    assert started_at(seen, "prometheus.service") == prometheus
    places = "/etc /var/lib/private/llm-grafana /proc/[0-9]*/cmdline /proc/[0-9]*/environ"
    found = seen.ssh(f"grep -rlaFf {GRAFANA_PASSWORD} {places} 2>/dev/null", check=False).stdout.split()
    assert found == [GRAFANA_PASSWORD]
    monkeypatch.undo()
    assert operator.deploy(*ON, hosts=[seen]).status == 0


@pytest.mark.slow
def test_a_dashboard_that_was_changed_by_hand_is_put_back_without_a_restart(operator: Operator, seen: Host) -> None:
    before = started_at(seen, GRAFANA)
    seen.ssh("sed -i 's/GPU inference host: overview/mine/' /etc/llm/grafana/dashboards/overview.json")
    assert said(seen, "/api/dashboards/uid/llm-overview")["dashboard"]["title"] == "mine"
    done = operator.deploy(*ON, hosts=[seen])
    assert done.changed == [f"{STEP}Write the dashboard overview.json"]
    assert said(seen, "/api/dashboards/uid/llm-overview")["dashboard"]["title"] == "GPU inference host: overview"
    assert started_at(seen, GRAFANA) == before


def test_it_may_reach_nothing_outside_of_the_host(seen: Host) -> None:
    """What would call home is not to leave. A lab host was seen not to hold it to that, so here it is what systemd was told."""
    told = seen.ssh(f"systemctl show -p IPAddressDeny -p IPAddressAllow {GRAFANA}").stdout
    limits = {key: set(value.split()) for key, value in (line.split("=", 1) for line in told.splitlines())}
    assert limits == {"IPAddressDeny": {"0.0.0.0/0", "::/0"}, "IPAddressAllow": {"127.0.0.0/8", "::1/128"}}


@pytest.mark.slow
def test_the_verification_suite_agrees(operator: Operator, seen: Host) -> None:
    checked = operator.verify(seen, *ON, "-k", "test_grafana or test_sandbox or test_ports", "-v")
    assert checked.returncode == 0, checked.stdout
    assert re.search(r"test_grafana\.py \.{7} ", checked.stdout), checked.stdout


@pytest.mark.slow
def test_switched_off_it_stops_and_its_database_stays(operator: Operator, seen: Host) -> None:
    off = operator.deploy(*ON, "--data", "monitoring.grafana.enabled=false", hosts=[seen])
    assert off.status == 0, off.output
    # Its mirror is not watched any more either.
    assert off.changed == [PLACE, f"{STEP}Have no Grafana run"]
    state = seen.ssh(f"systemctl is-active {GRAFANA}; systemctl is-enabled {GRAFANA}", check=False).stdout.split()
    assert state == ["inactive", "disabled"]
    seen.ssh(f"test -s {GRAFANA_STATE}/grafana.db")
    assert RUNS in operator.deploy(*ON, hosts=[seen]).changed
    assert said(seen, "/api/user")["login"] == "admin"
