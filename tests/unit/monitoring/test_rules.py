"""The alert rules, judged by Prometheus' own promtool: each is due in its fault and in no other, and none on a healthy host."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from roles.monitoring.prometheus import drop_ins
from roles.monitoring.prometheus.configuration import configuration, rules_file, subjects
from roles.site import Site, site_from
from tests.faults.page import PAGE
from tests.unit.monitoring.worlds import FAULTS, FAULTS_OF_VISION, PHASE_2, QUIET, Series

SITE = site_from([{"monitoring": {"stack": True}}], {})


def rules(site: Site = SITE) -> dict[str, dict[str, Any]]:
    """Every alert rule by its name."""
    files = [yaml.safe_load(rules_file(subject, site.monitoring)) for subject in subjects(site)]
    return {rule["alert"]: rule for file in files for group in file["groups"] for rule in group["rules"]}


class Promtool:
    def __init__(self, tools: Path, folder: Path) -> None:
        self.program, self.folder = tools / "promtool", folder

    def put_rules(self, site: Site) -> list[str]:
        for subject in subjects(site):
            (self.folder / f"{subject}.yml").write_text(rules_file(subject, site.monitoring), encoding="utf-8")
        return [f"{subject}.yml" for subject in subjects(site)]

    def test(self, series: Series, at: int, site: Site = SITE, **wanted: Any) -> None:
        """What must be so after `at` minutes, in promtool's words."""
        group = {"interval": "1m", "input_series": [{"series": k, "values": v} for k, v in series.items()], **wanted}
        told = {"rule_files": self.put_rules(site), "evaluation_interval": "1m", "tests": [group]}
        (self.folder / "test.yml").write_text(json.dumps(told))
        done = subprocess.run(
            [self.program, "test", "rules", "test.yml"], cwd=self.folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def firing(self, series: Series, at: int, alerts: tuple[str, ...], site: Site = SITE) -> None:
        """Exactly these alerts fire after `at` minutes."""
        samples = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in alerts]
        question = 'group by (alertname) (ALERTS{alertstate="firing"})'
        self.test(
            series, at, site, promql_expr_test=[{"expr": question, "eval_time": f"{at}m", "exp_samples": samples}]
        )


@pytest.fixture
def promtool(tools: Path, tmp_path: Path) -> Promtool:
    return Promtool(tools, tmp_path)


def test_every_alert_has_its_fault() -> None:
    assert set(FAULTS) == set(rules())


@pytest.mark.parametrize("alert", FAULTS)
def test_an_alert_fires_in_its_fault_and_no_other_does(promtool: Promtool, alert: str) -> None:
    fault = FAULTS[alert]
    promtool.firing(fault.series, fault.at, (alert, *fault.beside))


@pytest.mark.parametrize("alert", FAULTS_OF_VISION)
def test_an_alert_tells_of_the_servers_of_11435_too(promtool: Promtool, alert: str) -> None:
    """The text's servers are well: a sum over both would hide it."""
    fault = FAULTS_OF_VISION[alert]
    promtool.firing(fault.series, fault.at, (alert,))


@pytest.mark.parametrize("world", QUIET)
def test_no_alert_fires_where_all_is_well(promtool: Promtool, world: str) -> None:
    series, at = QUIET[world]
    promtool.firing(series, at, ())


def test_an_alert_waits_for_the_patience_of_the_settings(promtool: Promtool) -> None:
    series = FAULTS["VllmDown"].series
    hasty = site_from([{"monitoring": {"stack": True, "alerts": {"patience_s": 60}}}], {})
    promtool.firing(series, 4, ())
    promtool.firing(series, 4, ("VllmDown",), hasty)


def test_a_bound_is_that_of_the_settings(promtool: Promtool) -> None:
    strict = site_from(
        [{"monitoring": {"stack": True, "alerts": {"kv_cache_share": 0.5, "gpu_temperature_c": 65}}}], {}
    )
    promtool.firing(PHASE_2, 30, ("VllmKvCacheFull", "GpuHot"), strict)


def test_vllm_that_is_down_where_nobody_knows_the_phase_is_told(promtool: Promtool) -> None:
    series = {name: values for name, values in FAULTS["VllmDown"].series.items() if not name.startswith("llm_phase_")}
    promtool.firing(series, 30, ("VllmDown", "HostMetricsMissing"))


def test_what_somebody_reads_has_numbers_and_names_in_it(promtool: Promtool) -> None:
    rule = rules()["GpuHot"]
    text = rule["annotations"]["description"].replace("{{ $value }}", "91")
    labels = {"severity": "warning", "gpu": "0", "UUID": "GPU-8f1c", "modelName": "NVIDIA H100 80GB HBM3"}
    told = {
        "summary": "Card 0 is hot",
        "description": text.replace("{{ $labels.modelName }}", labels["modelName"]),
        "runbook": rule["annotations"]["runbook"],
    }
    wanted = {
        "eval_time": "30m",
        "alertname": "GpuHot",
        "exp_alerts": [{"exp_labels": labels, "exp_annotations": told}],
    }
    promtool.test(FAULTS["GpuHot"].series, 30, alert_rule_test=[wanted])
    assert text == "91 °C on {{ $labels.modelName }} for 300 s; 85 is the bound (monitoring.alerts.gpu_temperature_c)."


def test_a_host_without_cards_and_one_for_phase_1_alone_have_no_rules_for_what_they_lack() -> None:
    without = site_from([{"monitoring": {"stack": True}, "gpu": "none", "phase": 1, "prepare": "phase1"}], {})
    names = rules(without)
    assert not [name for name in names if name.startswith(("Gpu", "Vllm", "Adapter"))]
    assert {"TextServerDown", "VisionServerDown", "DiskFull", "ExporterDown"} <= set(names)


@pytest.mark.parametrize("alert", rules())
def test_an_alert_says_what_it_is_and_what_to_do(alert: str) -> None:
    rule = rules()[alert]
    assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    titles = re.findall(r"(?m)^### (.+)$", PAGE.read_text(encoding="utf-8"))
    for section in re.findall(r"docs/on-call\.md, ([^:;]+)", rule["annotations"]["runbook"]):
        assert any(title.startswith(section.strip()) for title in titles), f"docs/on-call.md has no {section!r}"


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize(
    "data",
    [{}, {"gpu": "none"}, {"phase": 1, "prepare": "phase1"}, {"vision": "vllm"}],
    ids=["gpu", "cpu", "phase1", "vision"],
)
def test_the_rendered_files_satisfy_prometheus_own_tools(
    tools: Path, tmp_path: Path, data: dict[str, Any], token: bool
) -> None:
    watching = {"stack": True, "prometheus": {"alertmanagers": ["http://a:9093", "https://b/alerts"]}}
    site = site_from([{**data, "monitoring": watching, "adapter": {"require_token": token}}], {})
    for path, text in configuration(site, 'gpu "01"').items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        # As host/place-prometheus: the credential is there while the service runs.
        (tmp_path / path).write_text(text.replace("/run/credentials/prometheus.service/adapter-token", "/dev/null"))
    for command in (
        ["promtool", "check", "config", "prometheus.yml"],
        ["prometheus-blackbox-exporter", "--config.check", "--config.file=blackbox.yml"],
    ):
        done = subprocess.run([tools / command[0], *command[1:]], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("token", [False, True])
@pytest.mark.parametrize("name", ["prometheus", "prometheus-node-exporter", "prometheus-blackbox-exporter"])
def test_the_exposure_of_a_packages_unit_with_our_part_is_at_most_2_5(
    tools: Path, tmp_path: Path, name: str, token: bool
) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is not here (apt-get install systemd)")
    site = site_from([{"monitoring": {"stack": True}, "adapter": {"require_token": token}}], {})
    unit = f"{name}.service"
    packages_own = (tools.parents[1] / "lib/systemd/system" / unit).read_text(encoding="utf-8")
    (tmp_path / unit).write_text(f"{packages_own}\n{drop_ins(site)[unit]}")
    done = subprocess.run(
        [analyze, "security", "--offline=true", "--threshold=25", "--no-pager", str(tmp_path / unit)],
        capture_output=True, text=True,
    )  # fmt: skip
    assert "Overall exposure level" in done.stdout, done.stderr
    assert done.returncode == 0, done.stdout
