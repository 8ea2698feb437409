"""Grafana's stand-in as a host gets it: unpacked from the archive, with the files of the role, over a played Prometheus."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import json
import os
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from lab.mirror import grafana_releases
from lab.stand_ins.grafana_stand_in import asking, drawing, values
from roles.layout import GRAFANA
from roles.monitoring.grafana import configuration, dashboards
from roles.pins import pins
from roles.site import site_from

PASSWORD = "opens-in-the-lab-1"
NOW = 1_796_000_000.0


class PlayedPrometheus:
    """Answers every query with one series; what it was asked is kept."""

    def __init__(self) -> None:
        asked: list[dict[str, str]] = []

        class Answering(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                question = {key: found[0] for key, found in parse_qs(body).items()}
                asked.append(question)
                labels = {"status": "200", "alertname": "DiskFull", "alertstate": "firing", "severity": "critical"}
                if "start" in question:
                    start, end, step = (float(question[key]) for key in ("start", "end", "step"))
                    times = [start + step * number for number in range(int((end - start) / step) + 1)]
                    result: list[dict[str, Any]] = [{"metric": labels, "values": [[at, "2"] for at in times]}]
                else:
                    result = [{"metric": labels, "value": [float(question["time"]), "1"]}]
                self.answer(result)

            def do_GET(self) -> None:
                self.answer([{"metric": {}, "value": [0, "7"], "asked": self.path}])

            def answer(self, result: list[dict[str, Any]]) -> None:
                content = json.dumps({"status": "success", "data": {"result": result}}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None: ...

        self.asked = asked
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@dataclass(frozen=True)
class Installed:
    """The archive unpacked, and the role's files beside it."""

    root: Path
    port: int
    prometheus: PlayedPrometheus

    @property
    def program(self) -> list[str]:
        # The archive's own first line is the host's interpreter, which this machine may not have.
        return [sys.executable, "-I", str(self.root / "home/bin/grafana")]

    @property
    def files(self) -> list[str]:
        return ["--homepath", str(self.root / "home"), "--config", str(self.root / "etc/llm/grafana/grafana.ini")]

    def ask(self, path: str, password: str | None = PASSWORD, user: str = "admin") -> tuple[int, str]:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        if password:
            login = base64.b64encode(f"{user}:{password}".encode()).decode()
            request.add_header("Authorization", f"Basic {login}")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), Unmoved)
        try:
            with opener.open(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    @contextmanager
    def running(self) -> Iterator[Installed]:
        """The server, from its first answer on."""
        command = [*self.program, "server", *self.files]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            deadline = time.monotonic() + 30
            while not self.answers():
                assert process.poll() is None and time.monotonic() < deadline, process.communicate()[1]
                time.sleep(0.05)
            try:
                yield self
            finally:
                process.terminate()
        assert process.returncode == 0

    def answers(self) -> bool:
        try:
            return self.ask("/api/health", None)[0] == 200
        except OSError:
            return False


class Unmoved(urllib.request.HTTPRedirectHandler):
    """Redirects are answers."""

    def redirect_request(self, *args: Any, **more: Any) -> None:
        return None


def installed(root: Path, prometheus: PlayedPrometheus, **grafana: Any) -> Installed:
    with tarfile.open(fileobj=io.BytesIO(grafana_releases.archive(pins().grafana.version))) as tar:
        tar.extractall(root)
    (root / f"grafana-{pins().grafana.version}").rename(root / "home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"stack": True, "prometheus": {"port": prometheus.port}, "grafana": {"port": port, **grafana}}
    for path, text in {**configuration(site_from([{"monitoring": told}], {})), **dashboards()}.items():
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        for there in ("/etc/llm", "/var/lib/llm-grafana", f"/run/credentials/{GRAFANA}"):
            text = text.replace(there, f"{root}{there}")
        file.write_text(text, encoding="utf-8")
    credential = root / f"run/credentials/{GRAFANA}/admin-password"
    credential.parent.mkdir(parents=True)
    credential.write_text(f"{PASSWORD}\n")
    return Installed(root, port, prometheus)


@pytest.fixture(scope="module")
def played() -> Iterator[PlayedPrometheus]:
    one = PlayedPrometheus()
    yield one
    one.server.shutdown()
    one.server.server_close()


@pytest.fixture(scope="module")
def grafana(played: PlayedPrometheus, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    with installed(tmp_path_factory.mktemp("grafana"), played).running() as one:
        yield one


def test_the_archive_has_the_real_ones_layout_and_its_checksum_beside_it(tmp_path: Path) -> None:
    folder = grafana_releases.ensure(tmp_path)
    (file,) = folder.glob("*/*.tar.gz")
    version, build = pins().grafana.version, pins().grafana.build
    assert str(file.relative_to(folder)) == f"{version}/grafana_{version}_{build}_linux_amd64.tar.gz"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == grafana_releases.sha256(folder)
    with tarfile.open(file) as tar:
        names = tar.getnames()
    assert {f"grafana-{version}/bin/grafana", f"grafana-{version}/conf/defaults.ini"} <= set(names)
    assert grafana_releases.archive(version) == grafana_releases.archive(version)


def test_the_program_tells_the_version_of_the_release(grafana: Installed) -> None:
    done = subprocess.run([*grafana.program, "--version"], capture_output=True, text=True)
    assert done.stdout == f"grafana version {pins().grafana.version}\n"


def test_health_is_for_all_and_everything_else_for_who_has_the_password(grafana: Installed) -> None:
    assert json.loads(grafana.ask("/api/health", None)[1])["database"] == "ok"
    assert grafana.ask("/api/search", None)[0] == 401
    assert grafana.ask("/d/llm-overview", None)[0] == 302
    assert grafana.ask("/api/search", "wrong")[0] == 401
    assert grafana.ask("/api/search", PASSWORD, "root")[0] == 401
    assert json.loads(grafana.ask("/api/user")[1])["login"] == "admin"


def test_what_was_provisioned_is_there(grafana: Installed) -> None:
    found = {one["uid"] for one in json.loads(grafana.ask("/api/search")[1])}
    assert found == {"llm-overview", "llm-vllm", "llm-adapter", "llm-gpu", "llm-host"}
    body = grafana.ask("/api/dashboards/uid/llm-gpu")[1]
    assert json.loads(body)["dashboard"]["title"] == "GPU inference host: cards"
    assert grafana.ask("/api/dashboards/uid/none")[0] == 404
    through = json.loads(grafana.ask("/api/datasources/proxy/uid/prometheus/api/v1/query?query=up")[1])
    assert through["data"]["result"][0]["asked"] == "/api/v1/query?query=up"
    assert grafana.ask("/api/datasources/proxy/uid/another/api/v1/query?query=up")[0] == 404


@pytest.mark.parametrize("uid", ["llm-overview", "llm-vllm", "llm-adapter", "llm-gpu", "llm-host"])
def test_a_page_draws_every_panel_and_says_that_it_is_a_stand_in(grafana: Installed, uid: str) -> None:
    status, page = grafana.ask(f"/d/{uid}?from=now-15m&to=now&width=1200")
    assert status == 200
    assert "stand-in for Grafana" in page
    assert 'class="failed"' not in page
    titles = [
        panel["title"] for panel in json.loads(grafana.ask(f"/api/dashboards/uid/{uid}")[1])["dashboard"]["panels"]
    ]
    assert re.findall(r"<h2>([^<]*)</h2>", page) == titles
    assert page.count("<svg") + page.count("<table") + page.count('class="row"') == len(titles)


def test_a_page_asks_for_the_time_that_it_shows_and_no_closer_than_samples_are(grafana: Installed) -> None:
    grafana.prometheus.asked.clear()
    grafana.ask("/d/llm-overview?from=now-15m&to=now")
    asked = [one for one in grafana.prometheus.asked if "start" in one]
    assert {float(one["step"]) for one in asked} == {15.0}
    assert all(900 <= float(one["end"]) - float(one["start"]) < 915 for one in asked)
    assert any("histogram_quantile(0.95" in one["query"] for one in asked)
    assert grafana.ask("/d/llm-overview?from=yesterday")[0] == 400
    assert grafana.ask("/d/llm-none")[0] == 404


def test_the_first_page_is_the_overview(grafana: Installed) -> None:
    assert "<title>GPU inference host: overview</title>" in grafana.ask("/")[1]


def test_a_dashboard_that_changed_is_seen_without_a_restart(grafana: Installed) -> None:
    file = grafana.root / "etc/llm/grafana/dashboards/host.json"
    before = file.read_text()
    file.write_text(before.replace("GPU inference host: machine", "mine"))
    assert "<title>mine</title>" in grafana.ask("/d/llm-host")[1]
    file.write_text(before)


def test_a_page_shows_what_prometheus_had_against_a_query(played: PlayedPrometheus, tmp_path: Path) -> None:
    one = installed(tmp_path, played)
    source = tmp_path / "etc/llm/grafana/provisioning/datasources/prometheus.yaml"
    source.write_text(re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:1", source.read_text()))
    with one.running():
        assert "Connection refused" in one.ask("/d/llm-gpu")[1]


def test_strangers_may_look_where_that_is_said_and_change_nothing(played: PlayedPrometheus, tmp_path: Path) -> None:
    with installed(tmp_path, played, anonymous=True).running() as one:
        assert one.ask("/d/llm-overview", None)[0] == 200
        assert one.ask("/api/datasources", None)[0] == 403
        assert one.ask("/api/search", "wrong")[0] == 401


def test_the_settings_password_counts_at_the_first_start_and_the_command_sets_another(
    played: PlayedPrometheus, tmp_path: Path
) -> None:
    one = installed(tmp_path, played)
    with one.running():
        pass
    credential = tmp_path / f"run/credentials/{GRAFANA}/admin-password"
    credential.write_text("another\n")
    with one.running():
        assert [one.ask("/api/user", word)[0] for word in (PASSWORD, "another")] == [200, 401]
        reset = [*one.program, "cli", *one.files, "admin", "reset-admin-password", "--password-from-stdin"]
        done = subprocess.run(reset, input="another\n", capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "Admin password changed successfully ✔\n")
        assert [one.ask("/api/user", word)[0] for word in (PASSWORD, "another")] == [401, 200]
        assert subprocess.run(reset, input="", capture_output=True, text=True).returncode == 1
    assert PASSWORD.encode() not in (tmp_path / "var/lib/llm-grafana/grafana.db").read_bytes()


SPOILT = {
    "a dashboard that is no JSON": ("dashboards/gpu.json", "{", "gpu.json"),
    "a dashboard without a uid": ("dashboards/gpu.json", "{}", "KeyError('uid')"),
    "two dashboards of one uid": ("dashboards/gpu.json", '{"uid": "llm-host"}', "the same UID is used more than once"),
    "a data source of another kind": (
        "provisioning/datasources/prometheus.yaml", "apiVersion: 1\ndatasources: [{type: loki}]", "'loki'",
    ),
    "provisioning that is no YAML": ("provisioning/dashboards/dashboards.yaml", "a: [", "dashboards.yaml"),
    "a folder that is not there": (
        "provisioning/dashboards/dashboards.yaml", "apiVersion: 1\nproviders: [{options: {path: /none}}]", "/none is no directory",
    ),
    "a port that is none": ("grafana.ini", "[server]\nhttp_port = x\n", "server.http_port"),
    "a credential that is not there": (
        "grafana.ini", "[security]\nadmin_password = $__file{/none}\n", "could not expand $__file{/none}",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", SPOILT)
def test_it_does_not_start_with(fault: str, played: PlayedPrometheus, tmp_path: Path) -> None:
    name, text, cause = SPOILT[fault]
    one = installed(tmp_path, played)
    (tmp_path / "etc/llm/grafana" / name).write_text(text)
    done = subprocess.run([*one.program, "server", *one.files], capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert cause in done.stderr


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123, "s", "12.3 ms"), (90, "s", "1.5 mins"), (0, "s", "0 s"), (0.619, "percentunit", "61.9%"),
        (3.426, "reqps", "3.43 req/s"), (1536, "bytes", "1.5 KiB"), (1536, "Bps", "1.54 kB/s"),
        (242.4, "suffix:tok/s", "242 tok/s"), (71.2, "celsius", "71.2 °C"), (1_980_000_000, "hertz", "1.98 GHz"),
        (12, "none", "12"), (1200, "short", "1.2 K"), (2_500_000, "short", "2.5 Mil"),
    ],
)  # fmt: skip
def test_a_number_is_written_with_its_unit(value: float, unit: str, text: str) -> None:
    assert values.written(value, unit) == text


def test_colours_follow_thresholds_and_names() -> None:
    steps: list[dict[str, Any]] = [{"value": None, "color": "green"}, {"value": 0.8, "color": "red"}]
    assert [values.colour_of(value, steps) for value in (0.1, 0.8, 3)] == [
        values.COLOURS["green"], values.COLOURS["red"], values.COLOURS["red"],
    ]  # fmt: skip
    override = {"matcher": {"options": "/^5/"}, "properties": [{"id": "color", "value": {"fixedColor": "red"}}]}
    assert values.line_colours(["200", "503"], [override]) == [values.PALETTE[0], values.COLOURS["red"]]


@pytest.mark.parametrize(
    ("most", "base", "count", "last"),
    [(5.4, 1000, 4, 6), (0, 1000, 4, 1), (0.03, 1000, 3, 0.03), (1100, 1024, 3, 1536)],
)
def test_an_axis_has_round_numbers_that_hold_everything(most: float, base: int, count: int, last: float) -> None:
    ticks = drawing.axis(most, base, count)
    assert ticks[0] == 0
    assert ticks[-1] == pytest.approx(last)
    assert len(ticks) <= count + 2


def test_times_on_the_axis_are_round_and_far_enough_apart() -> None:
    span = asking.Span(NOW, NOW + 3600)
    found = drawing.moments(span, 400)
    assert all(at % 900 == 0 and span.start <= at <= span.end for at in found)
    assert len(found) == 4


def test_the_time_that_a_page_shows_is_read_as_grafana_reads_it() -> None:
    assert asking.span_of("now-15m", "now", NOW) == asking.Span(NOW - 900, NOW)
    assert asking.span_of("1796000000000", "1796000060000", NOW) == asking.Span(NOW, NOW + 60)
    with pytest.raises(ValueError, match="invalid literal"):
        asking.span_of("yesterday", "now", NOW)


def line(name: str, *points: tuple[float, float]) -> asking.Line:
    return asking.Line(name, {}, points)


def test_a_line_has_a_gap_where_samples_are_missing_and_stacks_stand_on_each_other() -> None:
    panel = json.loads(next(iter(dashboards().values())))["panels"]
    graph = next(one for one in panel if one["type"] == "timeseries")
    span = asking.Span(0, 120)
    broken = line("2", (0, 1), (15, 1), (90, 1), (105, 1))
    html, _ = drawing.body(graph, [broken], span, 15, 400, 200)
    assert html.count('fill="none"') == 2
    shapes = drawing._stacked([line("a", (0, 1), (15, 2)), line("b", (0, 3), (15, 4))])
    assert shapes[1] == ([(0, 1.0), (15, 2.0)], [(0, 4.0), (15, 6.0)])


def test_a_panel_without_data_says_what_its_dashboard_says() -> None:
    stat = {"type": "stat", "fieldConfig": {"defaults": {"noValue": "none in <Phase> 1"}}}
    assert drawing.body(stat, [], asking.Span(0, 60), 15, 100, 100) == (
        '<div class="none">none in &lt;Phase&gt; 1</div>',
        "",
    )


def test_the_stand_in_is_not_shipped_with_the_product() -> None:
    root = Path(__file__).resolve().parents[3]
    for folder in ("roles", "bundle", "files"):
        for file in (root / folder).rglob("*.py"):
            assert "grafana_stand_in" not in file.read_text(encoding="utf-8"), file
    assert os.path.isdir(root / "lab/stand_ins/grafana_stand_in")
