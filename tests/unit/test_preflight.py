"""Preflight's pure parts: what is missing, how large it is, and how findings are told. Scenarios: tests/plan."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from roles.distribution import SOURCES
from roles.facts.evidence import parse_evidence
from roles.facts.survey import SCRIPTS, Answer, ModelSeen, parse_survey
from roles.layout import ollama_manifest, snapshot, vllm_release
from roles.preflight.findings import error, note, refuses, report, warning
from roles.preflight.mirror_checks import mirror_findings, model_sizes, questions
from roles.preflight.needs import needs, paths_to_look_for
from roles.preflight.system_checks import system_findings
from roles.site import site_from
from tests.plan.fake_machines import ONE_H100, Machine

SITE = site_from([{}], {})


def answer(text: str, status: int = 200) -> Answer:
    return Answer(url="http://mirror", status=status, headers={}, text=text, error="")


def test_a_bare_host_needs_everything() -> None:
    missing = needs(SITE, [], {"model": 10, "llava:7b": 5})
    assert missing.vllm
    assert missing.model
    assert missing.vision_models == ("llava:7b", "nomic-embed-text")
    assert missing.bytes_by_folder["/var/lib/llm/hub"] == 10
    assert missing.bytes_by_folder["/var/lib/ollama-vision"] == 5


def test_a_complete_host_needs_nothing_and_asks_no_mirror() -> None:
    missing = needs(SITE, paths_to_look_for(SITE), {})
    assert not any((missing.uv, missing.vllm, missing.adapter, missing.ollama, missing.model))
    assert sum(missing.bytes_by_folder.values()) == 0
    asked = questions(SITE, missing, None, "debian", "12", "bookworm", docker_present=True)
    assert [question.name for question in asked] == []


def test_a_mirror_of_the_distribution_is_asked_until_a_host_reads_it() -> None:
    site = site_from([{"mirrors": {"distribution": "http://10.0.0.5/d"}}], {})
    first = questions(site, needs(site, [], {}), None, "debian", "12", "bookworm", docker_present=True)
    assert [question.url for question in first if question.name.startswith("distribution:")] == [
        "http://10.0.0.5/d/debian/dists/bookworm/InRelease",
        "http://10.0.0.5/d/debian-security/dists/bookworm-security/InRelease",
    ]
    then = questions(site, needs(site, [SOURCES], {}), None, "debian", "12", "bookworm", docker_present=True)
    assert not [question for question in then if question.name.startswith("distribution:")]
    found = mirror_findings(site, needs(site, [], {}), {"distribution:debian": answer("", 404)}, has_token=True)
    assert found[0].about == "mirrors.distribution"
    assert "curl -I" in found[0].remedy


def test_only_what_is_missing_is_asked_for() -> None:
    present = {*paths_to_look_for(SITE)} - {ollama_manifest("vision", "llava:7b")}
    asked = questions(SITE, needs(SITE, present, {}), None, "debian", "12", "bookworm", docker_present=True)
    assert [question.name for question in asked] == ["registry:llava:7b"]


def test_another_revision_is_another_snapshot_and_another_lock_another_release() -> None:
    other = site_from([{"vllm": {"model_revision": "a" * 40}}], {})
    assert snapshot(other).marker != snapshot(SITE).marker
    assert vllm_release(site_from([{"gpu": "none"}], {})).path != vllm_release(SITE).path


def test_weights_in_a_second_format_are_not_counted() -> None:
    siblings = [{"rfilename": "a.safetensors", "size": 13}, {"rfilename": "pytorch_model.bin", "size": 13}]
    assert model_sizes({"hub": answer(json.dumps({"siblings": siblings}))}) == {"model": 13}
    assert model_sizes({"hub": answer("<html>"), "registry:x": answer("", 404)}) == {}


def test_a_question_shows_its_token_to_nobody_but_the_probe() -> None:
    missing = needs(SITE, [], {})
    asked = questions(SITE, missing, "hf_planted", "ubuntu", "24.04", "noble", docker_present=False)
    assert {question.name for question in asked if question.token} == {"hub", "hub-file"}
    assert all("hf_planted" not in question.url for question in asked)


def test_a_report_puts_the_gravest_first_and_ends_with_the_next_command() -> None:
    findings = [note("phase", "2"), warning("gpu", "old", "buy"), error("port 11434", "held", "free it")]
    assert refuses(findings)
    lines = report("gpu-01", findings, "pyinfra inventory deploy.py").splitlines()
    assert lines[0] == "gpu-01: refused, nothing was changed (1 error, 1 warning)"
    assert lines[1].split()[:3] == ["error", "port", "11434"]
    assert lines[-1] == "then: pyinfra inventory deploy.py"


def test_notes_and_warnings_refuse_nobody() -> None:
    assert not refuses([note("a", "b"), warning("c", "d", "e")])


def test_the_survey_of_this_very_machine_can_be_read() -> None:
    asked = json.dumps({"paths": ["/etc/passwd", "/nowhere"], "folders": ["/var/lib/deep/below/nothing"]})
    script = (SCRIPTS / "survey.py").read_text(encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", script, asked], capture_output=True, text=True, check=True)
    survey = parse_survey(json.loads(done.stdout))
    assert survey.present == {"/etc/passwd"}
    assert survey.free["/var/lib/deep/below/nothing"] > 0
    assert survey.memory > 0


def test_the_survey_tells_the_model_on_the_disk_whose_files_are_links(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(bytes(1000))
    folder = tmp_path / "snapshot"
    folder.mkdir()
    (folder / "model.safetensors").symlink_to(tmp_path / "blob")
    (folder / "gone.safetensors").symlink_to(tmp_path / "nowhere")
    script = (SCRIPTS / "survey.py").read_text(encoding="utf-8")

    def model(where: Path) -> ModelSeen | None:
        asked = json.dumps({"paths": [], "folders": [], "snapshot": str(where)})
        done = subprocess.run([sys.executable, "-c", script, asked], capture_output=True, text=True, check=True)
        return parse_survey(json.loads(done.stdout)).model

    assert model(folder) is None  # no config.json: not complete
    (folder / "config.json").write_text('{"hidden_size": 16}')
    assert model(folder) == ModelSeen('{"hidden_size": 16}', {"model.safetensors": 1000, "config.json": 19})
    assert model(tmp_path / "nowhere") is None


def test_a_kernel_without_headers_that_runs_a_driver_is_left_in_peace() -> None:
    def about(machine: Machine) -> list[str]:
        return [finding.about for finding in system_findings(SITE, parse_evidence(machine.evidence()), "ubuntu")]

    assert "kernel headers" in about(ONE_H100.saying(headers=""))
    assert "kernel headers" not in about(ONE_H100.with_driver(headers=""))
