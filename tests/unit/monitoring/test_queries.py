"""Every alert rule and every query of a dashboard, asked of a real Prometheus that sees what a real host would show it.

Prometheus, node_exporter and blackbox_exporter are the distribution's own programs, with the configuration that the role renders.
vLLM's metrics are the recording of a real one, the adapter's and llm-metrics' come from their own code, the cards' from the lab's
stand-in. A name that none of them has fails here: a misspelt metric is no error to Prometheus, it is silence.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from lab.stand_ins import nvidia_dcgm_exporter_stand_in as dcgm
from ollama_adapter.service import metrics as adapter_metrics
from roles.host_programs import load
from roles.monitoring.prometheus.configuration import configuration, rules_file, subjects
from roles.site import Site, site_from
from tests.unit.monitoring.expressions import metric_names, selected_labels, without_variables

ROOT = Path(__file__).resolve().parents[3]
RECORDING = ROOT / "tests/contract/recordings/vllm-0.32.0-cpu.jsonl"
DASHBOARDS = sorted((ROOT / "roles/monitoring/dashboards").glob("*.json"))
OWN = {"ALERTS", "ALERTS_FOR_STATE"}  # Prometheus makes them when a rule is due
LLM_METRICS = load(Path("roles/monitoring/prometheus/host/llm-metrics"))
STATUS: dict[str, Any] = {
    "serving": 2, "recorded": 2, "as_recorded": True, "changing": None, "complete": {"1": [], "2": []},
    "units": {"vllm.service": "active"}, "release": {"id": "r-1", "verdict": "good"},
}  # fmt: skip
CARDS = [
    {
        "uuid": f"GPU-{number}",
        "name": "NVIDIA H100 80GB HBM3",
        "compute_cap": "9.0",
        "memory.total": "81559",
        "memory.used": "4",
    }
    for number in range(2)
]
CARDS[1]["DCGM_FI_DEV_GPU_TEMP"] = "91"  # the one thing that is wrong with this host


def of_vllm() -> str:
    """What a real vLLM showed, with traffic behind it."""
    rows = (json.loads(line) for line in RECORDING.read_text(encoding="utf-8").splitlines())
    found: str = next(
        row["response"]["body"] for row in rows if row["name"] == "metrics_after" and row["run"] == "run2_tools_len2048"
    )
    return found


def of_adapter() -> str:
    """What the adapter shows when everything has happened once."""
    told = adapter_metrics.Metrics()
    for family in adapter_metrics.FAMILIES:
        labels = [{"status": "200", "upstream": "text"}.get(name, "x") for name in family.labels]
        if family.kind == "histogram":
            told.observe(family, 0.2, *labels)
        elif family.kind == "counter":
            told.add(family, 1, *labels)
        else:
            told.set(family, 1, *labels)
    return told.text(openmetrics=False).decode()


def of_cards(site: Site) -> str:
    asked = dcgm.counters(configuration(site, "gpu-01")["dcgm-counters.csv"])
    return dcgm.exposition(asked, CARDS, "gpu-01", "580.178.04")


def of_host(folder: Path) -> None:
    """What llm-metrics writes."""
    samples = [
        *LLM_METRICS.phase_samples(2, STATUS),
        *LLM_METRICS.check_samples("Result=success\nExecMainExitTimestampMonotonic=60000000\n", time.time() - 100),
        ("llm_reboot_pending", {}, 0),
    ]
    LLM_METRICS.put(folder / "llm.prom", LLM_METRICS.text_of(samples))
    mirrors = LLM_METRICS.mirror_samples({"hub": "https://hub"}, lambda url: (1, int(time.time()) + 10**7))
    LLM_METRICS.put(folder / "mirrors.prom", LLM_METRICS.text_of(mirrors))


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        opened = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in opened:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in opened]


@contextmanager
def serving(port: int, bodies: dict[str, str], received: list[Any] | None = None) -> Iterator[None]:
    """A server on loopback that answers these paths with these texts. :param received: gets the JSON that is posted."""

    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = bodies.get(self.path, "").encode()
            self.send_response(200 if self.path in bodies else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            posted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if received is not None:
                received.extend(posted)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Answering)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def running(log: Path, *command: str | Path) -> Iterator[None]:
    with log.open("w") as stream, subprocess.Popen(list(map(str, command)), stdout=stream, stderr=stream) as process:
        try:
            yield
        finally:
            process.terminate()


class Prometheus:
    """A running one."""

    def __init__(self, port: int, sent: list[Any]) -> None:
        """:param sent: what its Alertmanager got."""
        self.base, self.sent = f"http://127.0.0.1:{port}", sent

    def get(self, path: str) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(self.base + path, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[Any]:
        """The result. Raises urllib.error.HTTPError for what is no PromQL."""
        found: list[Any] = self.get(f"/api/v1/query?query={quote(expression)}")["result"]
        return found

    def health(self) -> dict[str, str]:
        """By job, `up`, or what is wrong."""
        try:
            found = self.get("/api/v1/targets?state=active")["activeTargets"]
        except OSError:
            return {}
        return {one["labels"]["job"]: "up" if one["health"] == "up" else one["lastError"] or "?" for one in found}


@pytest.fixture(scope="module")
def prometheus(tools: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen a whole host twice."""
    folder = tmp_path_factory.mktemp("prometheus")
    own, node, blackbox, dcgm_port, vllm, text, vision, alertmanager, nobody = free_ports(9)
    watching = {
        "stack": True, "node": {"port": node}, "blackbox": {"port": blackbox}, "dcgm": {"port": dcgm_port},
        "alerts": {"patience_s": 1},
        "prometheus": {
            "port": own, "scrape_interval_s": 1,
            "alertmanagers": [f"http://127.0.0.1:{port}" for port in (alertmanager, nobody)],
        },
    }  # fmt: skip
    site = site_from(
        [{
            "monitoring": watching, "vllm": {"port": vllm}, "adapter": {"port": text},
            "ollama": {"text": {"port": text}, "vision": {"port": vision}},
        }], {},
    )  # fmt: skip
    for path, content in configuration(site, "gpu-01").items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(content, encoding="utf-8")
    of_host(folder)
    listed = {name: json.dumps({"models": [{"name": f"{one}"} for one in models]}) for name, models in {
        "text": ("llama2:7b", "llama3.2:latest"), "vision": ("llava:7b", "nomic-embed-text:latest"),
    }.items()}  # fmt: skip
    with ExitStack() as stack:
        sent: list[Any] = []
        stack.enter_context(serving(alertmanager, {}, sent))
        stack.enter_context(serving(vllm, {"/metrics": of_vllm()}))
        stack.enter_context(serving(text, {"/metrics": of_adapter(), "/api/tags": listed["text"]}))
        stack.enter_context(serving(vision, {"/api/tags": listed["vision"]}))
        stack.enter_context(serving(dcgm_port, {"/metrics": of_cards(site)}))
        for program, *words in (
            ("prometheus-node-exporter", f"--web.listen-address=127.0.0.1:{node}", f"--collector.textfile.directory={folder}"),
            ("prometheus-blackbox-exporter", f"--config.file={folder}/blackbox.yml", f"--web.listen-address=127.0.0.1:{blackbox}"),
            ("prometheus", f"--config.file={folder}/prometheus.yml", f"--web.listen-address=127.0.0.1:{own}",
             f"--storage.tsdb.path={folder}/data"),
        ):  # fmt: skip
            stack.enter_context(running(folder / f"{program}.log", tools / program, *words))
        asked = Prometheus(own, sent)
        until("every target is up", lambda: set(asked.health().values()) == {"up"}, asked.health)
        until("two samples of each", lambda: bool(asked.query("rate(vllm:prompt_tokens_total[1m])")), asked.health)
        yield asked


def until(what: str, look: Callable[[], bool], seen: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not look():
        assert time.monotonic() < deadline, f"{what}: {seen()}"
        time.sleep(0.3)


def of_rules() -> dict[str, str]:
    """Every alert's expression, by its name."""
    site = site_from([{"monitoring": {"stack": True}}], {})
    files = [yaml.safe_load(rules_file(subject, site.monitoring)) for subject in subjects(site)]
    return {rule["alert"]: rule["expr"] for file in files for group in file["groups"] for rule in group["rules"]}


def of_dashboards() -> dict[str, str]:
    """Every query of every dashboard, panels in rows included, by file, title and letter."""
    found = {}
    for file in DASHBOARDS:
        shown = json.loads(file.read_text(encoding="utf-8"))["panels"]
        for panel in [*shown, *(inner for row in shown for inner in row.get("panels", []))]:
            for number, target in enumerate(panel.get("targets", [])):
                if "expr" in target:
                    found[f"{file.stem}: {panel.get('title', '')} {target.get('refId', number)}"] = target["expr"]
    return {name: without_variables(expression) for name, expression in found.items()}


EXPRESSIONS = of_rules() | of_dashboards()


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_everything_that_an_expression_reads_is_there(prometheus: Prometheus, name: str) -> None:
    expression = EXPRESSIONS[name]
    prometheus.query(expression)
    names = metric_names(expression) - OWN
    missing = {one for one in names if not prometheus.query(f'count({{__name__="{one}"}})')}
    assert not missing, f"no host shows {', '.join(sorted(missing))}: {expression}"
    labels = {pair for pair in selected_labels(expression) if pair[0] not in OWN}
    unknown = {pair for pair in labels if not prometheus.query(f'count({{__name__="{pair[0]}",{pair[1]}!=""}})')}
    assert not unknown, f"no such label: {unknown}: {expression}"


def test_only_what_is_wrong_with_this_host_is_due_and_its_alertmanager_gets_it_with_all_that_somebody_must_know(
    prometheus: Prometheus,
) -> None:
    until(
        "it is sent",
        lambda: {"GpuHot", "AlertsNotDelivered"} <= {one["labels"]["alertname"] for one in prometheus.sent},
        list,
    )
    (hot,) = [one for one in prometheus.sent if one["labels"]["alertname"] == "GpuHot"][:1]
    assert (hot["labels"]["host"], hot["labels"]["gpu"], hot["labels"]["severity"]) == ("gpu-01", "1", "warning")
    assert hot["annotations"]["summary"] == "Card 1 is hot"
    assert "91 °C on NVIDIA H100 80GB HBM3" in hot["annotations"]["description"]
    assert "nvidia-smi dmon" in hot["annotations"]["runbook"]
    rules = [rule for group in prometheus.get("/api/v1/rules?type=alert")["groups"] for rule in group["rules"]]
    assert {rule["health"] for rule in rules} <= {"ok", "unknown"}, [rule.get("lastError") for rule in rules]
    # The disk of the machine that tests is its own matter; one of the two Alertmanagers is not there.
    due = {rule["name"] for rule in rules if rule["state"] != "inactive"} - {"DiskFull", "DiskFillsUp"}
    assert due == {"GpuHot", "AlertsNotDelivered"}


def test_both_servers_are_asked_for_their_models(prometheus: Prometheus) -> None:
    seen = {one["metric"]["server"]: one["value"][1] for one in prometheus.query("probe_success")}
    assert seen == {"text": "1", "vision": "1"}


def test_what_an_expression_reads_is_found() -> None:
    read = 'sum by (model_name, le) (rate(a:b_bucket{x="y",z=~"a{2}b"}[5m]))'
    expression = f'{read} / on (host) group_left() c unless d{{e!=""}} offset 5m > 3'
    assert metric_names(expression) == {"a:b_bucket", "c", "d"}
    assert selected_labels(expression) == {("a:b_bucket", "x"), ("a:b_bucket", "z"), ("d", "e")}
    assert without_variables('rate(a{gpu=~"$gpu"}[$__rate_interval]) + ${x:regex}') == 'rate(a{gpu=~".*"}[5m]) + .*'
