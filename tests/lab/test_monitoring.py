"""The monitoring on a real host: it sees everything that serves, is silent in both phases, and speaks when something stops."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab import Host
from roles.layout import BLACKBOX, NODE_EXPORTER, PROMETHEUS
from tests.lab.deployments import Operator
from tests.lab.test_deploy import Served, serves_phase_1, serves_phase_2, started_at
from tests.lab.vllm_probes import ask, wait_until

pytestmark = pytest.mark.lab
PLACE = (
    "Monitoring | Prometheus | Have what Prometheus asks and its alert rules in place, checked by its own tools first"
)
PATIENCE_S = 20
ON = (
    "--data", "monitoring.stack=true", "--data", f"monitoring.alerts.patience_s={PATIENCE_S}",
    "--data", "monitoring.prometheus.scrape_interval_s=2", "--data", "monitoring.check_interval_s=10",
    "--data", "monitoring.grafana.enabled=false",
)  # fmt: skip
UNITS = (PROMETHEUS, NODE_EXPORTER, BLACKBOX)
DROP_INS = "/etc/systemd/system/prometheus*.d/llm.conf"
PORTS = (9090, 9100, 9115)
PROMPT = {"model": "llama2:7b", "prompt": "Say hello", "stream": False, "options": {"num_predict": 4}}
# Who listens on the ports of the stack, ten times a second.
WATCH = "while sleep 0.1; do ss -Hltn | awk '{print $4}' | grep -E ':(9090|9100|9115)$'; done > /run/seen-ports"


def asked(host: Host, question: str) -> list[dict[str, Any]]:
    """The result of a query."""
    url = "http://127.0.0.1:9090/api/v1/query"
    said = host.ssh(f"curl -sS -m 10 --get {url} --data-urlencode {shlex.quote(f'query={question}')}").stdout
    found: list[dict[str, Any]] = json.loads(said)["data"]["result"]
    return found


def value(host: Host, question: str) -> float:
    """The one value of a query; -1 where there is none."""
    found = asked(host, question)
    return float(found[0]["value"][1]) if found else -1.0


def alerts(host: Host, state: str = "firing|pending", since: str = "") -> set[str]:
    """Names of the alerts in a state now, or at any time within `since`."""
    selector = f'ALERTS{{alertstate=~"{state}"}}'
    return {
        one["metric"]["alertname"] for one in asked(host, f"last_over_time({selector}[{since}])" if since else selector)
    }


def until_quiet(host: Host) -> None:
    """Wait until no alert is due; names those that are."""
    deadline = time.monotonic() + 120
    while due := alerts(host):
        assert time.monotonic() < deadline, due
        time.sleep(1)


def targets(host: Host) -> dict[str, str]:
    """Health by job of everything that is asked."""
    found = json.loads(host.ssh("curl -sS -m 10 http://127.0.0.1:9090/api/v1/targets").stdout)["data"]["activeTargets"]
    return {one["labels"]["job"]: one["health"] for one in found}


@pytest.fixture(scope="module")
def watched(operator: Operator, served: Served) -> Iterator[Host]:
    """The Phase-2 host with the stack; afterwards it is off again."""
    host = served[0]
    host.ssh(f"systemd-run --unit=watch-ports --collect sh -c {shlex.quote(WATCH)}")
    done = operator.deploy(*ON, hosts=[host])
    host.ssh("systemctl stop watch-ports")
    assert done.status == 0, done.output
    yield host
    serves_phase_2(host)
    off = operator.deploy(hosts=[host])
    assert off.status == 0, off.output


def test_everything_is_seen_after_one_run_and_a_second_one_changes_nothing(operator: Operator, watched: Host) -> None:
    wait_until("every target is up", lambda: set(targets(watched).values()) == {"up"}, 60)
    assert set(targets(watched)) == {"prometheus", "node", "vllm", "adapter", "blackbox", "blackbox-exporter"}
    again = operator.deploy(*ON, hosts=[watched])
    assert again.status == 0, again.output
    assert again.changed == []


def test_what_is_collected_tells_of_the_traffic_and_of_the_host(watched: Host) -> None:
    requests = 'sum(ollama_adapter_requests_total{route="/api/generate"})'
    tokens = ("sum(vllm:generation_tokens_total)", "sum(ollama_adapter_output_tokens_total)")
    before = {name: max(value(watched, name), 0) for name in (requests, *tokens)}
    for _ in range(3):
        assert ask(watched, 11434, "/api/generate", PROMPT, 120)[0] == 200
    # Each server is asked at its own moment.
    wait_until(
        "requests and tokens are counted", lambda: all(value(watched, name) > before[name] for name in before), 30
    )
    wait_until("every request is counted", lambda: value(watched, requests) >= before[requests] + 3, 30)
    assert value(watched, 'probe_success{server="vision"}') == 1
    for name in ("llm_phase_inventory", "llm_phase_recorded", "llm_phase_serving"):
        assert value(watched, name) == 2
    watched.ssh("systemctl start llm-check", timeout=120)  # its timer leaves a boot five minutes
    wait_until("llm-check has run", lambda: value(watched, "llm_check_ok") == 1, 60)
    mirrors = {one["metric"]["mirror"] for one in asked(watched, "llm_mirror_up == 1")}
    assert {"hub", "ollama_releases", "ollama_registry", "python_index"} <= mirrors
    release = watched.ssh("llm-phase releases --json").stdout
    assert asked(watched, "llm_release_info")[0]["metric"]["release"] == json.loads(release)["current"]


@pytest.mark.slow
def test_the_verification_suite_agrees(operator: Operator, watched: Host) -> None:
    seen = operator.verify(watched, *ON)
    assert seen.returncode == 0, seen.stdout
    lines = operator.verify(watched, *ON, "-k", "test_monitoring", "-v").stdout
    assert "SKIPPED" not in lines, lines


def test_a_server_that_stops_is_an_alert_first_pending_then_firing_and_gone_when_it_serves_again(watched: Host) -> None:
    assert alerts(watched) == set()
    watched.ssh("systemctl stop ollama-vision")
    wait_until("it is pending", lambda: "VisionServerDown" in alerts(watched, "pending"), 30)
    wait_until("it fires", lambda: "VisionServerDown" in alerts(watched, "firing"), PATIENCE_S + 30)
    assert "TextServerDown" not in alerts(watched)
    watched.ssh("systemctl start ollama-vision", timeout=120)
    until_quiet(watched)


def test_a_switch_to_phase_1_and_back_is_no_alert(watched: Host) -> None:
    until_quiet(watched)
    watched.ssh("llm-phase 1", timeout=400)
    try:
        serves_phase_1(watched)
        wait_until("Prometheus knows", lambda: value(watched, "llm_phase_recorded") == 1, 60)
        time.sleep(2 * PATIENCE_S)  # longer than any of them waits
        assert targets(watched)["vllm"] == "down"
        assert alerts(watched, "firing", since=f"{2 * PATIENCE_S}s") == set()
        assert alerts(watched, "pending") <= {"PhaseNotAsInInventory"}  # which waits for a day
    finally:
        watched.ssh("llm-phase 2", timeout=400)
    serves_phase_2(watched)
    until_quiet(watched)


@pytest.mark.slow
def test_vllm_that_stops_is_an_alert_and_gone_when_it_serves_again(watched: Host) -> None:
    named = {"VllmDown", "AdapterUpstreamDown"}
    watched.ssh("systemctl stop vllm")
    wait_until("they fire", lambda: named <= alerts(watched, "firing"), PATIENCE_S + 60)
    watched.ssh("systemctl start vllm", timeout=400)
    serves_phase_2(watched)
    wait_until("they are gone", lambda: not named & alerts(watched), 60)


@pytest.mark.slow
def test_a_changed_threshold_restarts_prometheus_alone(operator: Operator, watched: Host) -> None:
    assert operator.deploy(*ON, hosts=[watched]).status == 0  # proves what was started by hand
    before = {unit: started_at(watched, unit) for unit in UNITS}
    changed = (*ON, "--data", "monitoring.alerts.ttft_s=7")
    done = operator.deploy(*changed, hosts=[watched])
    assert done.status == 0, done.output
    assert done.changed == [PLACE, f"Monitoring | Prometheus | Have {PROMETHEUS} run with this configuration"]
    assert [unit for unit in UNITS if started_at(watched, unit) != before[unit]] == [PROMETHEUS]
    groups = json.loads(watched.ssh("curl -sS http://127.0.0.1:9090/api/v1/rules").stdout)["data"]["groups"]
    queries = {rule["name"]: rule["query"] for group in groups for rule in group["rules"]}
    assert "> 7 " in queries["VllmTimeToFirstToken"]
    assert operator.deploy(*ON, hosts=[watched]).status == 0


def test_what_prometheus_own_tools_refuse_is_not_put_in_place(watched: Host) -> None:
    folder = "/etc/llm/prometheus"
    before = watched.ssh(f"cd {folder}; find . -type f | sort | xargs sha256sum").stdout
    files = {name: watched.ssh(f"cat {folder}/{name}").stdout for name in ("prometheus.yml", "blackbox.yml")}
    broken = {**files, "rules/broken.yml": "groups: [{name: x, rules: [{alert: X, expr: 'up ==='}]}]"}
    said = watched.ssh(
        f"/usr/local/lib/llm/place-prometheus {folder} 2>&1",
        stdin=json.dumps({"files": broken, "stand_for": {}}), check=False,
    )  # fmt: skip
    assert said.returncode == 2
    assert "refused, nothing was changed" in said.stdout
    assert "broken.yml" in said.stdout
    assert watched.ssh(f"cd {folder}; find . -type f | sort | xargs sha256sum").stdout == before
    assert watched.ssh("ls /etc/llm").stdout.split().count("prometheus") == 1


@pytest.mark.slow
def test_where_clients_need_a_token_the_monitoring_has_it_and_shows_it_nobody(
    operator: Operator, watched: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "planted-secret-of-the-clients"
    monkeypatch.setenv("OLLAMA_ADAPTER_TOKEN", secret)
    with_token = (*ON, "--data", "adapter.require_token=true")
    done = operator.deploy(*with_token, hosts=[watched])
    assert done.status == 0, done.output
    assert ask(watched, 11434, "/api/tags")[0] == 401
    wait_until("every target is up", lambda: set(targets(watched).values()) == {"up"}, 60)
    wait_until("11434 answers the probe", lambda: value(watched, 'probe_success{server="text"}') == 1, 30)
    shown = watched.ssh(
        f"cat /etc/llm/prometheus/*.yml {DROP_INS}; curl -sS 127.0.0.1:9090/api/v1/status/config; systemctl show {PROMETHEUS}"
    ).stdout
    assert "adapter-token" in shown
    assert secret not in shown + done.output
    again = operator.deploy(*with_token, hosts=[watched])
    assert again.changed == [], again.output
    assert operator.deploy(*ON, hosts=[watched]).status == 0


def test_nothing_of_it_ever_listened_beyond_loopback(watched: Host) -> None:
    seen = watched.ssh("sort -u /run/seen-ports").stdout.split()
    assert seen == [f"127.0.0.1:{port}" for port in PORTS]


@pytest.mark.slow
def test_switched_off_it_stops_keeps_its_data_and_can_be_switched_on_again(operator: Operator, watched: Host) -> None:
    off = operator.deploy(hosts=[watched])
    assert off.status == 0, off.output
    assert "Monitoring | Prometheus | Stop what is not wanted any more, and keep what it has collected" in off.changed
    for unit in (*UNITS, "llm-metrics.timer"):
        assert watched.ssh(f"systemctl is-active {unit}; systemctl is-enabled {unit}", check=False).stdout.split() == [
            "inactive",
            "disabled",
        ]
    assert operator.deploy(hosts=[watched]).changed == []
    assert operator.deploy(*ON, hosts=[watched]).status == 0
    wait_until("every target is up", lambda: set(targets(watched).values()) == {"up"}, 60)
    wait_until(
        "it has what it had", lambda: value(watched, "count(max_over_time(llm_phase_recorded[1h]) == 2)") == 1, 30
    )
