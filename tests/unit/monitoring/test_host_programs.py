"""llm-metrics, place-prometheus, and what the role decides, without a host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from roles.host_programs import load
from roles.layout import MONITORING_UNITS
from roles.monitoring.prometheus import stand_for, units
from roles.monitoring.prometheus.configuration import blackbox_file, configuration, mirrors, prometheus_file
from roles.pins import ROOT
from roles.site import Site, site_from

PLACE = ROOT / "roles/monitoring/prometheus/host/place-prometheus"
METRICS = load(Path("roles/monitoring/prometheus/host/llm-metrics"))
FILES = {"prometheus.yml": "a: 1\n", "blackbox.yml": "b: 1\n", "rules/x.yml": "c: 1\n"}


def site(**settings: Any) -> Site:
    watching = {"stack": True, **settings.pop("monitoring", {})}
    return site_from([{"monitoring": watching, **settings}], {})


def values(samples: Any) -> dict[str, float]:
    """Value by name and labels, through a reader of Prometheus' format."""
    families = text_string_to_metric_families(METRICS.text_of(samples))
    return {" ".join([one.name, *one.labels.values()]): one.value for family in families for one in family.samples}


# llm-metrics


def test_the_status_of_the_phase_becomes_metrics() -> None:
    status = {
        "serving": None, "recorded": 1, "as_recorded": False, "changing": "alice", "complete": {"1": [], "2": ["/x"]},
        "units": {"vllm.service": "failed", "ollama-vision.service": "active"},
        "release": {"id": 'r-"1"', "verdict": None},
    }  # fmt: skip
    assert values(METRICS.phase_samples(2, status)) == {
        "llm_phase_inventory": 2, "llm_phase_recorded": 1, "llm_phase_serving": 0, "llm_phase_as_recorded": 0,
        "llm_phase_changing": 1, "llm_phase_complete 1": 1, "llm_phase_complete 2": 0, "llm_unit_active vllm.service": 0,
        "llm_unit_active ollama-vision.service": 1, 'llm_release_info r-"1" ': 1,
    }  # fmt: skip


def test_a_host_whose_llm_phase_tells_nothing_has_the_inventorys_word_alone() -> None:
    assert values(METRICS.phase_samples(1, {})) == {"llm_phase_inventory": 1}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Result=success\nExecMainExitTimestampMonotonic=5000000\n", (1, 105)),
        ("Result=exit-code\nExecMainExitTimestampMonotonic=5000000\n", (0, 105)),
        ("Result=success\nExecMainExitTimestampMonotonic=0\n", ()),
        ("", ()),
    ],
    ids=["well", "fails", "not run yet", "systemd says nothing"],
)  # fmt: skip
def test_the_last_run_of_llm_check_becomes_metrics(said: str, expected: tuple[int, ...]) -> None:
    names = ("llm_check_ok", "llm_check_last_run_timestamp_seconds")
    assert values(METRICS.check_samples(said, 100.0)) == (dict(zip(names, expected, strict=True)) if expected else {})


def test_mirrors_that_answer_and_their_certificates_become_metrics() -> None:
    told = {"http://a": (1, None), "https://b": (1, 4000), "https://c": (0, None)}
    assert values(METRICS.mirror_samples({"a": "http://a", "b": "https://b", "c": "https://c"}, told.__getitem__)) == {
        "llm_mirror_up a": 1, "llm_mirror_up b": 1, "llm_mirror_up c": 0,
        "llm_mirror_certificate_end_timestamp_seconds b": 4000,
    }  # fmt: skip
    assert values(METRICS.mirror_samples({})) == {}


def test_a_mirror_that_is_not_there_is_down_and_the_end_of_a_certificate_is_read() -> None:
    assert METRICS.ask_mirror("http://127.0.0.1:1") == (0, None)
    assert METRICS.ask_mirror("http://no-such-host.invalid/x") == (0, None)
    assert METRICS.certificate_end({"notAfter": "Jan  1 00:00:00 2027 GMT"}) == 1798761600


def test_mirrors_are_asked_once_an_hour_and_when_somebody_has_named_others(tmp_path: Path) -> None:
    told, configured = tmp_path / "mirrors.prom", tmp_path / "metrics.json"
    configured.touch()
    assert METRICS.is_due(told, configured, time.time())
    told.touch()
    now = told.stat().st_mtime
    os.utime(configured, (now - 10, now - 10))
    assert not METRICS.is_due(told, configured, now + 3599)
    assert METRICS.is_due(told, configured, now + 3600)
    os.utime(configured, (now + 10, now + 10))
    assert METRICS.is_due(told, configured, now + 20)


def test_the_program_writes_whole_files_that_everybody_may_read(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"phase": 2, "mirrors": {"hub": "http://127.0.0.1:1"}}))
    program = ROOT / "roles/monitoring/prometheus/host/llm-metrics"
    subprocess.run([sys.executable, program, tmp_path / "metrics.json", tmp_path], check=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["llm.prom", "metrics.json", "mirrors.prom"]
    text = (tmp_path / "llm.prom").read_text()
    assert "# TYPE llm_phase_inventory gauge\nllm_phase_inventory 2\n" in text
    assert "llm_reboot_pending " in text
    assert 'llm_mirror_up{mirror="hub"} 0\n' in (tmp_path / "mirrors.prom").read_text()
    assert (tmp_path / "llm.prom").stat().st_mode & 0o777 == 0o644


# place-prometheus


@pytest.fixture
def place(tmp_path: Path) -> Any:
    """Runs the program with tools that refuse a file with the word `broken` in it, and note what they were shown."""
    tool = '#!/bin/sh\nfolder=$(echo "$*" | grep -o "[^ =]*\\.checked")\n'
    tool += 'cat "$folder"/*.yml >> "$SHOWN"\nif grep -rq broken "$folder"; then echo "no good: $folder"; exit 1; fi\n'
    for name in ("promtool", "prometheus-blackbox-exporter"):
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(tool)
        (tmp_path / "bin" / name).chmod(0o755)

    def run(files: dict[str, str], *words: str, stand_for: dict[str, str] | None = None) -> Any:
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            [sys.executable, PLACE, *words, tmp_path / "prometheus"], capture_output=True, text=True,
            input=json.dumps({"files": files, "stand_for": stand_for or {}}),
            env={**os.environ, "PATH": path, "SHOWN": str(tmp_path / "shown")},
        )  # fmt: skip

    return run


def present(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_files_are_put_in_place_and_then_nothing_is_due(place: Any, tmp_path: Path) -> None:
    assert place(FILES, "--check").stdout.splitlines() == [
        "blackbox.yml: new",
        "prometheus.yml: new",
        "rules/x.yml: new",
    ]
    assert not (tmp_path / "prometheus").exists()
    assert place(FILES).returncode == 0
    assert present(tmp_path / "prometheus") == FILES
    assert place(FILES, "--check").stdout.strip() == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bin", "prometheus", "shown"]


def test_a_file_that_stays_the_same_keeps_its_time_and_one_that_is_not_wanted_goes(place: Any, tmp_path: Path) -> None:
    place({**FILES, "rules/old.yml": "d: 1\n"})
    for path in ("prometheus.yml", "blackbox.yml"):
        os.utime(tmp_path / "prometheus" / path, (1000, 1000))
    changed = {**FILES, "prometheus.yml": "a: 2\n"}
    assert place(changed, "--check").stdout.splitlines() == ["prometheus.yml: changed", "rules/old.yml: gone"]
    assert place(changed).returncode == 0
    assert present(tmp_path / "prometheus") == changed
    assert (tmp_path / "prometheus/blackbox.yml").stat().st_mtime == 1000
    assert (tmp_path / "prometheus/prometheus.yml").stat().st_mtime > 1000


def test_what_a_tool_refuses_changes_nothing_and_its_words_name_the_place(place: Any, tmp_path: Path) -> None:
    place(FILES)
    refused = place({**FILES, "blackbox.yml": "broken: 1\n"})
    assert refused.returncode == 2
    assert "refused, nothing was changed" in refused.stderr
    assert f"no good: {tmp_path / 'prometheus'}\n" in refused.stderr
    assert present(tmp_path / "prometheus") == FILES


def test_for_the_check_another_path_stands_for_a_credential(place: Any, tmp_path: Path) -> None:
    files = {**FILES, "prometheus.yml": "f: /run/credentials/x\n"}
    assert place(files, stand_for={"/run/credentials/x": "/etc/y"}).returncode == 0
    assert "f: /etc/y\n" in (tmp_path / "shown").read_text()
    assert present(tmp_path / "prometheus") == files


# What the role decides


def test_a_host_without_the_stack_has_no_unit_of_it() -> None:
    assert units(site_from([{}], {})) == ()
    assert units(site()) == (*MONITORING_UNITS, "llm-metrics.timer")
    assert "nvidia-dcgm-exporter.service" not in units(site(gpu="none"))


def test_what_is_asked_follows_the_settings() -> None:
    wanted = site(
        vllm={"port": 8001}, adapter={"address": "172.17.0.1", "require_token": True}, ollama={"address": "10.0.0.5"},
        monitoring={"node": {"address": "0.0.0.0", "port": 9101}},
    )  # fmt: skip
    told = yaml.safe_load(prometheus_file(wanted, "gpu-01"))
    jobs = {job["job_name"]: job for job in told["scrape_configs"]}
    targets = {name: [t for static in job["static_configs"] for t in static["targets"]] for name, job in jobs.items()}
    assert targets == {
        "prometheus": ["127.0.0.1:9090"], "node": ["127.0.0.1:9101"], "dcgm": ["127.0.0.1:9400"], "vllm": ["127.0.0.1:8001"],
        "adapter": ["172.17.0.1:11434"], "blackbox-exporter": ["127.0.0.1:9115"],
        "blackbox": ["http://172.17.0.1:11434/api/tags", "http://10.0.0.5:11435/api/tags"],
    }  # fmt: skip
    assert told["global"]["external_labels"] == {"host": "gpu-01"}
    assert jobs["adapter"]["authorization"]["credentials_file"] == "/run/credentials/prometheus.service/adapter-token"
    assert len(stand_for(wanted)) == 2


def test_vision_on_vllm_is_asked_by_jobs_of_its_own_and_without_a_token() -> None:
    def jobs(**said: Any) -> dict[str, Any]:
        told = yaml.safe_load(prometheus_file(site(ollama={"address": "10.0.0.5"}, **said), "gpu-01"))
        return {job["job_name"]: job for job in told["scrape_configs"]}

    seeing = jobs(vision="vllm", vllm_vision={"port": 8002}, adapter={"require_token": True})
    assert seeing["vllm-vision"]["static_configs"] == [{"targets": ["127.0.0.1:8002"]}]
    assert seeing["adapter-vision"]["static_configs"] == [{"targets": ["10.0.0.5:11435"]}]
    assert "authorization" in seeing["adapter"]
    assert "authorization" not in seeing["adapter-vision"]
    for other in (jobs(), jobs(vision="vllm", phase=1, prepare="phase1")):
        assert not {"vllm-vision", "adapter-vision"} & set(other)


def test_the_servers_are_asked_for_the_models_that_they_have_in_both_phases() -> None:
    wanted = site(vllm={"aliases": ["llama2", "mine"]}, ollama={"text": {"models": ["llama2:latest", "llama3.2"]}})
    modules = yaml.safe_load(blackbox_file(wanted))["modules"]
    asked = {name: module["http"]["fail_if_body_not_matches_regexp"] for name, module in modules.items()}
    assert asked["text"] == ['"llama2:latest"']
    assert asked["vision"][0] == '"llava:7b"'


def test_only_mirrors_that_a_deploy_of_the_host_uses_are_watched() -> None:
    assert "cuda_repositories" in mirrors(site())
    cpu = mirrors(site(gpu="none", docker={"source": "distribution"}, phase=1, prepare="phase1"))
    assert set(cpu) == {"ollama_releases", "ollama_registry", "grafana_releases"}
    assert "grafana_releases" not in mirrors(site(monitoring={"grafana": {"enabled": False}}))
    assert mirrors(site(monitoring={"watch_mirrors": False})) == {}
    told = json.loads(configuration(site(phase=1), "x")["metrics.json"])
    assert told["phase"] == 1
