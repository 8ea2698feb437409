"""What is told of a verification, and what one process writes down for the other."""

from __future__ import annotations

import dataclasses
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from roles.pins import ROOT
from tests.unit.bench_host_server import of_vllm
from tests.verify.engine import parse_engine_cache
from tests.verify.records import Check, HostResult, read_result, saved, sentence_of, topic_of
from tests.verify.report import Run, clean, for_monitoring, in_words, junit, page
from tests.verify.second_deploy import told_of, what_is_due
from tests.verify.seen import parse_about
from tests.verify.test_sandbox import SANDBOX

TRUE = Check("vLLM on loopback", "vLLM is healthy", "passed", seconds=0.25)
SKIPPED = Check("Ports", "The ports that Phase 2 will need are free", "skipped", "only for hosts in Phase 1")
WRONG = Check(
    "The adapter on 11434", "The adapter is ready", "failed", "gpu-01: GET /ready answered 503: <b>no & no</b>\n  why"
)
NOISY = Check("The journal", "No unit wrote an error", "failed", "gpu-01: seen 1\x1b[31m", is_warning=True)
LOST = Check("The host as a whole", "The host answers", "failed", "gpu-02 cannot be reached: no route", is_unknown=True)
ABOUT = {"release": "2026-11-29T06-40-a1b2", "vllm": "0.33.0-cpu-1", "system": "Debian 12"}


def run(*hosts: HostResult) -> Run:
    return Run("inventory", "full", "5m", "2026-11-29T06:40:00+00:00", 5.5, "2fd094b2cc79", hosts)


TOLD = dataclasses.replace(TRUE, note="prefix cache: 53.6 % <of> 1912 prompt tokens")


def host(*checks: Check, name: str = "gpu-01", trouble: str = "") -> HostResult:
    return HostResult(name, 2.5, ABOUT, checks, trouble)


@pytest.mark.parametrize(
    ("checks", "verdict"),
    [
        ((TRUE, SKIPPED), "ok"),
        ((TRUE, NOISY), "warning"),
        ((TRUE, NOISY, WRONG), "critical"),
        ((TRUE, LOST), "unknown"),
        ((WRONG, LOST), "critical"),
        ((NOISY, LOST), "unknown"),
        ((SKIPPED,), "unknown"),
        ((), "unknown"),
    ],
)
def test_a_host_is_as_bad_as_the_worst_that_is_known_of_it(checks: tuple[Check, ...], verdict: str) -> None:
    assert host(*checks).verdict == verdict


@pytest.mark.parametrize(
    ("hosts", "word", "status"),
    [
        ([host(TRUE)], "OK", 0),
        ([host(TRUE), host(NOISY)], "WARNING", 1),
        ([host(WRONG), host(LOST)], "CRITICAL", 2),
        ([host(NOISY), host(LOST)], "UNKNOWN", 3),
        ([host(TRUE), host(trouble="gpu-09: pytest ended with status 3")], "UNKNOWN", 3),
        ([], "UNKNOWN", 3),
    ],
)
def test_monitoring_gets_one_line_and_the_status_of_its_word(hosts: list[HostResult], word: str, status: int) -> None:
    line, seen = for_monitoring(run(*hosts))
    assert (line.split()[:2], seen) == (["VERIFY", word], status)
    assert "\n" not in line and line.count("|") == 1


def test_the_line_for_monitoring_says_what_is_not_so_and_has_figures() -> None:
    line, _ = for_monitoring(run(host(TRUE, NOISY, WRONG), host(LOST, name="gpu-02")))
    assert line == (
        "VERIFY CRITICAL - 0 of 2 hosts as promised: gpu-01: The adapter is ready: NOT SO and 1 more; "
        "gpu-02 cannot be reached: no route | hosts=2 passed=1 failed=2 time=5.5s"
    )


def test_a_person_reads_the_worst_first_each_with_its_reason() -> None:
    assert in_words(host(NOISY, WRONG, TRUE, SKIPPED)).splitlines()[:4] == [
        "gpu-01: critical (1 true, 2 not, 1 not asked, 2.5 s)",
        "  FAILED  The adapter is ready",
        "          gpu-01: GET /ready answered 503: <b>no & no</b>",
        "            why",
    ]
    assert "  gpu-02 cannot be reached: no route" in in_words(host(LOST, LOST))
    assert in_words(host(LOST, LOST)).count("no route") == 1


def test_junit_has_a_suite_for_each_host_and_tells_failure_error_and_skip_apart() -> None:
    root = ElementTree.fromstring(junit(run(host(TRUE, SKIPPED, WRONG, NOISY), host(LOST, name="gpu-02"))).encode())
    suites = {suite.get("name"): suite for suite in root}
    one = suites["gpu-01"]
    assert [one.get(key) for key in ("tests", "failures", "errors", "skipped")] == ["4", "2", "0", "1"]
    assert suites["gpu-02"].get("errors") == "1"
    failure = one.find("testcase[@name='The adapter is ready']/failure")
    assert failure is not None and failure.text == WRONG.reason
    assert {one.get("name"): one.get("value") for one in root.iter("property")}["release"] == ABOUT["release"]


def test_a_host_without_a_record_is_an_error_in_junit_too() -> None:
    root = ElementTree.fromstring(junit(run(host(trouble="gpu-09: pytest ended with status 3"))).encode())
    assert [error.text for error in root.iter("error")] == ["gpu-09: pytest ended with status 3"]


def test_what_xml_cannot_say_is_replaced() -> None:
    assert clean("a\x00\x1b[31m\ud800b\tü😀") == "a\ufffd\ufffd[31m\ufffdb\tü😀"


def test_the_page_has_every_host_sentence_and_reason_and_needs_no_other_file() -> None:
    text = page(run(host(TRUE, SKIPPED, WRONG), host(LOST, name="gpu-02")))
    for said in (
        "gpu-01",
        "gpu-02",
        "vLLM is healthy",
        "only for hosts in Phase 1",
        ABOUT["release"],
        "2fd094b2cc79",
        "inventory",
    ):
        assert said in text
    assert "gpu-02 cannot be reached: no route" in text
    assert not re.search(r"(?:src|href)=[\"'](?!#)|@import|url\(", text)
    assert 'name="viewport"' in text


def test_a_topic_says_what_came_of_it_before_it_is_opened_and_what_nobody_asked_comes_last() -> None:
    other = dataclasses.replace(TRUE, topic="Ports", sentence="The ports are held")
    unasked = dataclasses.replace(SKIPPED, topic="A card")
    text = page(run(host(unasked, SKIPPED, other, TRUE, WRONG, LOST)))
    found = re.findall(r'<details( class="none")?><summary>(.*?) <small class="(\w*)">(.*?)</small>', text)
    assert found == [
        ("", "Ports", "ok", "1 true, 1 not asked"),
        ("", "The adapter on 11434", "critical", "1 NOT true"),
        ("", "The host as a whole", "unknown", "1 unknown"),
        ("", "vLLM on loopback", "ok", "1 true"),
        (' class="none"', "A card", "", "1 not asked"),
    ]


def test_the_page_runs_nothing_that_a_host_says() -> None:
    evil = dataclasses.replace(WRONG, reason="<script>alert(1)</script>", sentence="<i>x</i>", topic="<u>")
    text = page(
        run(HostResult('"><script>', 1, {"system": "<script>"}, (evil, dataclasses.replace(evil, outcome="skipped"))))
    )
    assert "<script" not in text and "<i>" not in text and "<u>" not in text
    assert "&lt;script&gt;alert(1)" in text


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = host(TRUE, SKIPPED, WRONG, NOISY, LOST)
    (tmp_path / "record").write_text(saved(result))
    assert read_result(tmp_path / "record") == result


@pytest.mark.parametrize(
    ("name", "parameters", "sentence"),
    [
        ("test_vllm_is_healthy", "", "vLLM is healthy"),
        ("test_the_adapters_port_is_systemds", "", "The adapter's port is systemd's"),
        ("test_everything_that_phase_1_needs_is_on_disk", "", "Everything that Phase 1 needs is on disk"),
        ("test_a_secret_is_roots_alone", "/etc/x", "A secret is root's alone: /etc/x"),
    ],
)
def test_a_tests_name_is_a_sentence(name: str, parameters: str, sentence: str) -> None:
    assert sentence_of(name, parameters) == sentence


def test_a_topic_is_the_beginning_of_a_files_docstring() -> None:
    assert topic_of("The adapter on 11434: what a client asks for.\n\nMore.") == "The adapter on 11434"
    assert topic_of("The cards. Only for hosts with gpu.") == "The cards"


def test_a_host_tells_release_versions_and_system() -> None:
    text = '{"release": "r1", "phase": 2, "vllm": "0.33.0", "model": "a/b@c", "by": "x"}\n\n---\nDebian GNU/Linux 12\n---\n580.1\n'
    assert parse_about(text) == {
        "release": "r1", "phase": "2", "vllm": "0.33.0", "model": "a/b@c", "system": "Debian GNU/Linux 12", "driver": "580.1",
    }  # fmt: skip
    assert parse_about("\n\n---\nDebian GNU/Linux 12\n---\n") == {"system": "Debian GNU/Linux 12"}
    assert parse_about("") == {}


def test_every_directive_of_the_sandbox_template_is_compared() -> None:
    text = (ROOT / "roles/templates/sandbox.conf").read_text()
    rendered = dict(re.findall(r"^(\w+)=(\S*)$", text.split("{%")[0], re.MULTILINE))
    calls = {
        "SystemCallFilter",
        "SystemCallErrorNumber",
    }  # systemd tells filters as lists of calls; /proc tells whether there is one
    assert {key: value for key, value in rendered.items() if key not in calls} == SANDBOX


FINDING = {
    "kind": "file",
    "what": "/etc/llm/vllm.yaml",
    "expected": "as written",
    "found": "by hand",
    "remedy": "deploy",
}


def test_the_second_deploy_is_read_from_the_hosts_own_line() -> None:
    lines: list[dict[str, object]] = [
        {"host": name, "verdict": "none", "reason": "", "findings": []} for name in ("gpu-01", "gpu-011")
    ]
    output = "--> Connecting\n" + "\n".join(map(json.dumps, lines))
    assert told_of("gpu-011", output) == lines[1]
    assert told_of("gpu-02", output) is None
    assert told_of("gpu-01", "No hosts remaining!") is None


def test_what_a_second_deploy_would_do_is_told_with_its_remedy() -> None:
    assert what_is_due({"findings": []}) == []
    boot = {"what": "vllm.service", "expected": "its present start has made a token", "found": "no", "remedy": "deploy"}
    step = {
        "what": "Phase | Prove that vllm.service serves",
        "expected": "nothing to do",
        "found": "this",
        "remedy": "deploy",
    }
    assert what_is_due({"findings": [boot, step]}) == []
    assert what_is_due({"findings": [boot, FINDING]}) == what_is_due({"findings": [FINDING]})
    assert what_is_due({"findings": [FINDING]}) == ["/etc/llm/vllm.yaml: expected as written, found by hand", "deploy"]


def test_a_note_is_told_everywhere_and_decides_nothing() -> None:
    told = run(host(TOLD))
    assert in_words(told.hosts[0]).splitlines() == [
        "gpu-01: ok (1 true, 0 not, 0 not asked, 2.5 s)",
        f"  note     {TOLD.note}",
    ]
    assert ElementTree.fromstring(junit(told)).findtext(".//system-out") == TOLD.note
    assert "prefix cache: 53.6 % &lt;of&gt; 1912 prompt tokens" in page(told)
    assert for_monitoring(told)[1] == 0
    assert "note" not in in_words(host(TRUE))


def test_the_cache_of_a_real_vllm_is_told_in_a_sentence() -> None:
    cache = parse_engine_cache(of_vllm("metrics_after")[0])
    assert str(cache) == (
        "the KV cache holds 2097152 tokens = 1024.0 requests of max_model_len; "
        "prefix cache: 53.6 % of 1912 prompt tokens were there since vLLM started"
    )


@pytest.mark.parametrize(
    ("change", "end"),
    [
        (('enable_prefix_caching="True"', 'enable_prefix_caching="False"'), "prefix caching is off"),
        (("prefix_cache_queries_total", "another_total"), "nobody has asked yet"),
    ],
)
def test_a_cache_that_gave_nothing_says_why(change: tuple[str, str], end: str) -> None:
    assert str(parse_engine_cache(of_vllm("metrics_after")[0].replace(*change))).endswith(end)


@pytest.mark.parametrize("metrics", ["", 'vllm:cache_config_info{engine="0"} 1.0\n'])
def test_a_page_that_does_not_describe_the_cache_is_none(metrics: str) -> None:
    assert parse_engine_cache(metrics) is None
