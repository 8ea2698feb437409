"""Drift, its pure parts: from what was seen of a host to findings, a verdict and an exit status."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from pyinfra.api import FileUploadCommand, FunctionCommand, StringCommand

from roles.drift import Seen, differences, reason_unknown
from roles.drift.comparing import drop_in_findings, listener_findings, other_listeners, short_diff, unit_findings
from roles.drift.facts import SCRIPT, FileSeen, LastChange, Look, ModelSeen, UnitSeen, parse_look
from roles.drift.findings import SUMMARY, Finding, Told, as_json, judged, report
from roles.drift.steps import Step, name_of, step_of
from roles.facts.survey import Listener
from roles.hidden import hidden
from roles.layout import DCGM_EXPORTER, PROMETHEUS, drop_in, snapshot, vision_snapshot
from roles.phases import units_on_disk
from roles.preflight.findings import error
from roles.site import site_from
from roles.telling import exit_status, summary

HOST = "gpu-01"
SITE = site_from([{}], {})
PHASE_1 = site_from([{"phase": 1}], {})
RUNS = UnitSeen("loaded", "active", "success", ())
LOOK = Look(dict.fromkeys(units_on_disk(SITE), RUNS), {}, {}, {snapshot(SITE).marker: ModelSeen(True, 5, ())})
STATUS: dict[str, Any] = {
    "serving": 2, "recorded": 2, "next_boot": [2], "proved": {"vllm.service": True}, "complete": {"1": [], "2": []}
}  # fmt: skip
LISTENERS = (
    Listener("127.0.0.1", 8000, 10, "vllm", "vllm.service"),
    Listener("0.0.0.0", 11434, 11, "ollama-adapter", "ollama-adapter.service"),
    Listener("0000:0000:0000:0000:0000:0000:0000:0000", 11435, 12, "ollama", "ollama-vision.service"),
    Listener("0.0.0.0", 22, 13, "sshd", "ssh.service"),
)
SEEN = Seen((), (), {}, LOOK, LISTENERS, STATUS)
CHANGE = LastChange("alice", "2026-11-28T22:00:00+00:00", "644")


def told(seen: Seen) -> dict[tuple[str, str], Finding]:
    """Findings on a Phase-2 host, by kind and thing."""
    return {(found.kind, found.what): found for found in differences(HOST, SITE, seen)[0]}


def with_unit(name: str, seen: UnitSeen) -> Seen:
    return replace(SEEN, look=replace(LOOK, units={**LOOK.units, name: seen}))


def test_a_host_as_the_inventory_says_has_no_finding_and_no_note() -> None:
    assert differences(HOST, SITE, SEEN) == ([], [])


@pytest.mark.parametrize(
    ("changed", "what", "found"),
    [
        ({"serving": 1}, "serving", "Phase 1"),
        ({"serving": None}, "serving", "no whole phase"),
        ({"recorded": 1}, "on record", "Phase 1"),
        ({"next_boot": [1]}, "next boot", "Phase 1"),
        ({"next_boot": [1, 2]}, "next boot", "Phase 1 and 2"),
        ({"complete": {"1": ["/opt/llm/x"], "2": []}}, "Phase 1 on the disk", "1 missing: /opt/llm/x"),
    ],
)  # fmt: skip
def test_each_phase_that_is_not_the_inventorys_is_named(changed: dict[str, Any], what: str, found: str) -> None:
    findings = told(replace(SEEN, status={**STATUS, **changed}))
    assert set(findings) == {("phase", what)}
    assert findings["phase", what].found == found


def test_a_host_without_llm_phase_is_told_so() -> None:
    assert set(told(replace(SEEN, status={}))) == {("phase", "llm-phase")}


@pytest.mark.parametrize(
    ("unit", "seen", "found"),
    [
        ("vllm.service", UnitSeen("masked", "inactive", "success", ()), "masked"),
        ("ollama-text.service", UnitSeen("masked", "inactive", "success", ()), "masked"),
        ("vllm.service", UnitSeen("loaded", "failed", "exit-code", ()), "failed (exit-code)"),
        ("vllm.service", UnitSeen("loaded", "inactive", "success", ()), "inactive"),
    ],
)
def test_a_unit_that_is_not_as_it_should_be_is_named(unit: str, seen: UnitSeen, found: str) -> None:
    findings = told(with_unit(unit, seen))
    assert set(findings) == {("unit", unit)}
    assert findings["unit", unit].found == found


def test_a_stopped_unit_of_the_other_phase_is_as_it_should_be() -> None:
    assert told(with_unit("ollama-text.service", UnitSeen("loaded", "inactive", "success", ()))) == {}


def test_a_unit_that_runs_with_other_inputs_or_without_a_proof_is_named() -> None:
    other = told(replace(SEEN, look=replace(LOOK, other_inputs={"vllm.service": ("configuration",)})))
    assert other["unit", "vllm.service"].found == "its present start has read others: configuration"
    unproved = told(replace(SEEN, status={**STATUS, "proved": {"vllm.service": False}}))
    assert unproved["unit", "vllm.service"].found == "not asked for one yet"


def test_a_drop_in_by_hand_is_named_and_our_own_is_not() -> None:
    ours = "/etc/systemd/system/vllm.service.d/gpus.conf"
    by_hand = "/etc/systemd/system/vllm.service.d/override.conf"
    findings = told(with_unit("vllm.service", replace(RUNS, drop_ins=(ours, by_hand))))
    assert set(findings) == {("drop-in", by_hand)}
    assert f"rm {by_hand}; systemctl daemon-reload" in findings["drop-in", by_hand].remedy


def test_the_units_of_the_monitoring_are_looked_at_where_the_host_has_one() -> None:
    watched = site_from([{"gpu": "none", "monitoring": {"stack": True}}], {})
    assert PHASE_1.monitoring.units("none") == ()
    units = watched.monitoring.units("none")
    assert {PROMETHEUS, "llm-metrics.timer", "llm-metrics.service"} <= {*units}
    assert DCGM_EXPORTER not in units
    down, rests = UnitSeen("loaded", "failed", "exit-code", ()), UnitSeen("loaded", "inactive", "success", ())
    seen = {**dict.fromkeys(units, RUNS), PROMETHEUS: down, "llm-metrics.timer": rests, "llm-metrics.service": rests}
    findings = list(unit_findings(HOST, watched, replace(LOOK, units=seen), {}))
    assert [(one.what, one.found) for one in findings] == [
        (PROMETHEUS, "failed (exit-code)"),
        ("llm-metrics.timer", "inactive"),
    ]


def test_of_a_packages_unit_our_drop_in_is_ours_and_another_is_named_in_words_that_fit() -> None:
    by_hand = f"/etc/systemd/system/{PROMETHEUS}.d/override.conf"
    brought = f"/usr/lib/systemd/system/{PROMETHEUS}.d/10-package.conf"
    (found,) = drop_in_findings(
        replace(LOOK, units={PROMETHEUS: replace(RUNS, drop_ins=(drop_in(PROMETHEUS), brought, by_hand))})
    )
    assert (found.what, found.expected) == (by_hand, f"{PROMETHEUS} as its package and {drop_in(PROMETHEUS)} have it")
    # Of a unit that is ours whole, a file of that name is somebody else's.
    (other,) = drop_in_findings(
        replace(LOOK, units={"vllm.service": replace(RUNS, drop_ins=(drop_in("vllm.service"),))})
    )
    assert other.expected == "vllm.service as it is in /etc/systemd/system/vllm.service"


@pytest.mark.parametrize(
    ("pid", "command", "unit", "remedy"),
    [
        (9, "python3", "squatter.service", "systemctl disable --now squatter.service"),
        (9, "docker-proxy", "docker.service", "docker ps --filter publish=8000"),
        (9, "nc", "session-4.scope", "ss -ltnp 'sport = :8000'"),
        (0, "", "", "ss -ltnp 'sport = :8000'"),
        (9, "vllm", "vllm.service", "a drop-in of vllm.service may have moved it"),
    ],
)
def test_a_port_of_ours_in_other_hands_or_on_another_address_is_named(
    pid: int, command: str, unit: str, remedy: str
) -> None:
    listener = Listener("0.0.0.0", 8000, pid, command, unit)
    findings = list(listener_findings(HOST, SITE, [listener, *LISTENERS[1:]]))
    assert [(one.what, one.found) for one in findings] == [("port 8000", f"{unit or 'an unknown process'} on 0.0.0.0")]
    assert remedy in findings[0].remedy


def test_a_port_of_ours_on_which_nobody_listens_is_named_where_its_phase_serves() -> None:
    assert [one.found for one in listener_findings(HOST, SITE, LISTENERS[1:])] == ["nobody listens"]
    text = Listener("0.0.0.0", 11434, 11, "ollama", "ollama-text.service")
    assert list(listener_findings(HOST, PHASE_1, [text, LISTENERS[2]])) == []


def test_the_ports_of_the_monitoring_are_ours_where_the_host_has_one() -> None:
    watched = site_from([{"gpu": "none", "monitoring": {"stack": True, "node": {"address": "0.0.0.0"}}}], {})
    there = [
        Listener("127.0.0.1", 9090, 21, "prometheus", "prometheus.service"),
        Listener("::", 9100, 22, "prometheus-node", "prometheus-node-exporter.service"),
        Listener("127.0.0.1", 3001, 24, "grafana", "llm-grafana.service"),
        Listener("0.0.0.0", 9115, 23, "nc", "session-4.scope"),
    ]
    (found,) = listener_findings(HOST, watched, [*LISTENERS, *there])
    assert (found.what, found.found) == ("port 9115", "session-4.scope on 0.0.0.0")
    assert "prometheus-blackbox-exporter.service on 127.0.0.1 (monitoring.blackbox.port)" in found.expected
    assert other_listeners(watched, [*LISTENERS, *there]) == []


def test_who_else_is_reachable_from_outside_is_a_note_and_no_drift() -> None:
    others = [Listener("0.0.0.0", 9100, 7, "node_exporter", ""), Listener("127.0.0.1", 9200, 8, "java", "")]
    assert other_listeners(SITE, [*LISTENERS, *others]) == ["reachable from outside, and not ours: 9100 node_exporter"]


@pytest.mark.parametrize(
    ("model", "found"),
    [
        (ModelSeen(False, 3, ()), "3 files, not marked complete"),
        (ModelSeen(True, 0, ()), "0 files, marked complete"),
        (ModelSeen(True, 5, ("config.json",)), "1 of 5 files have lost their content: config.json"),
    ],
)
def test_a_model_that_is_not_whole_is_named_by_its_revision(model: ModelSeen, found: str) -> None:
    findings = told(replace(SEEN, look=replace(LOOK, models={snapshot(SITE).marker: model})))
    what = f"{snapshot(SITE).repository}@{snapshot(SITE).revision}"
    assert set(findings) == {("model", what)}
    assert findings["model", what].found == found


def test_with_vision_on_vllm_its_servers_have_the_ports_and_its_model_is_looked_at() -> None:
    site = site_from([{"vision": "vllm", "vllm_vision": {"model_revision": "e" * 40}}], {})
    marker = vision_snapshot(site).marker
    models = {**LOOK.models, marker: ModelSeen(False, 2, ())}
    look = replace(LOOK, units=dict.fromkeys(units_on_disk(site), RUNS), models=models)
    heard = (
        *(one for one in LISTENERS if one.port != 11435),
        Listener("0.0.0.0", 11435, 12, "ollama-adapter", "ollama-adapter-vision.service"),
        Listener("127.0.0.1", 8001, 14, "vllm", "vllm-vision.service"),
    )
    found = {one.what: one for one in differences(HOST, site, replace(SEEN, look=look, listeners=heard))[0]}
    assert set(found) == {f"allenai/olmOCR-2-7B-1025@{'e' * 40}", "port 11436"}
    assert found["port 11436"].expected == "ollama-embed.service on 127.0.0.1 (ollama.vision.loopback_port)"


def test_a_file_is_told_with_who_when_and_what_and_only_once() -> None:
    path = "/etc/llm/vllm.yaml"
    step = Step("vLLM | Write vLLM's configuration", path, "a: 1\n")
    seen = replace(
        SEEN,
        steps=(step,),
        files={path: FileSeen(CHANGE, "a: 2\n")},
        look=replace(LOOK, by_hand={path: CHANGE, "/etc/llm/other": None}),
    )
    findings = told(seen)
    assert set(findings) == {("file", path), ("file", "/etc/llm/other")}
    assert findings["file", path].found == f"changed by hand since the last deploy (written {CHANGE.time}, owner alice)"
    assert findings["file", path].diff == ("-a: 2", "+a: 1")
    assert findings["file", "/etc/llm/other"].found == "not there"


def test_a_file_that_the_last_deploy_wrote_so_is_not_called_changed_by_hand() -> None:
    step = Step("Write", "/etc/llm/vllm.yaml", "a: 1\n")
    seen = replace(SEEN, steps=(step,), files={"/etc/llm/vllm.yaml": FileSeen(CHANGE, "a: 2\n")})
    assert told(seen)["file", "/etc/llm/vllm.yaml"].found.startswith("another content (written")


@pytest.mark.parametrize(
    ("path", "text"), [("/etc/llm/credentials/hub-token", "old"), ("/etc/llm/private", None)], ids=["secret", "not for all"]
)  # fmt: skip
def test_a_file_that_may_hold_a_secret_is_told_without_its_content(path: str, text: str | None) -> None:
    seen = replace(SEEN, steps=(Step("Write", path, "new"),), files={path: FileSeen(CHANGE, text)})
    assert told(seen)["file", path].diff == ()


@pytest.mark.parametrize(
    "line",
    [
        "api-key: planted", 'hub_token = "planted"', "Environment=HF_TOKEN=planted", "Authorization: Bearer planted",
        "proxy: http://user:planted@proxy:3128", "key hf_plantedplanted", "--api-key planted", "PASSWORD=planted",
    ],
)  # fmt: skip
def test_what_may_be_a_secret_is_hidden_in_a_diff(line: str) -> None:
    assert "planted" not in hidden(f"-{line}")
    assert "[hidden]" in hidden(f"-{line}")


def test_a_diff_is_short_and_a_plain_line_stays_as_it_is() -> None:
    many = "".join(f"line {number}\n" for number in range(50))
    diff = short_diff(many, "")
    assert len(diff) == 13
    assert diff[0] == "-line 0"
    assert diff[-1] == "… 38 more lines"


def test_any_other_step_is_told_by_its_name_and_first_command() -> None:
    findings = told(
        replace(SEEN, steps=(Step("NVIDIA | Hold every package of the driver", command="apt-mark hold nvidia"),))
    )
    found = findings["plan", "NVIDIA | Hold every package of the driver"]
    assert found.found == "deploy.py would do this: apt-mark hold nvidia"
    assert found.remedy == "pyinfra inventory deploy.py -y --limit gpu-01"


def test_a_refusal_of_preflight_is_a_finding_and_a_port_is_told_once() -> None:
    squatter = Listener("0.0.0.0", 8000, 9, "python3", "squatter.service")
    refusals = (error("port 8000", "held", "stop it"), error("disk", "full", "free some"))
    findings, notes = differences(HOST, SITE, replace(SEEN, refusals=refusals, listeners=(squatter, *LISTENERS[1:])))
    assert [(found.kind, found.what) for found in findings] == [("refusal", "disk"), ("listener", "port 8000")]
    assert any("its steps were not compared" in note for note in notes)


def test_a_finding_without_a_remedy_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="no remedy for port 1"):
        Finding("listener", "port 1", "a", "b", " ")


# The verdict

FINDING = Finding("unit", "vllm.service", "active", "failed", "look")


def test_a_host_of_which_something_is_unknown_has_no_findings() -> None:
    assert judged(HOST, [FINDING], ["note"], "bob is changing it") == Told(HOST, "unknown", reason="bob is changing it")
    assert judged(HOST, [FINDING], []).verdict == "drift"
    assert judged(HOST, [], ["note"]).verdict == "none"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"changing": "bob (pyinfra deploy.py), since 03:00"}, "bob (pyinfra deploy.py), since 03:00, is changing it just now"),
        ({"lost": True}, "the connection was lost"),
        ({"settings_problems": [error("vllm.prot", "unknown setting", "x")]}, "the inventory is wrong, vllm.prot: unknown setting"),
        ({"look": None}, "the host does not run python3"),
        ({"surveyed": False}, "the host does not run python3"),
        ({}, ""),
    ],
)  # fmt: skip
def test_why_a_host_is_unknown_is_told(given: dict[str, Any], reason: str) -> None:
    usual: dict[str, Any] = {"changing": None, "lost": False, "settings_problems": [], "look": LOOK, "surveyed": True}
    said = reason_unknown(**{**usual, **given})
    assert said.startswith(reason)
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [(["none"], 0), (["none", "drift"], 3), (["drift", "unknown"], 1), (["none", "unknown"], 1), ([], 0)],
)
def test_the_exit_status_is_that_of_the_gravest(verdicts: list[Any], status: int) -> None:
    assert exit_status([Told(str(number), verdict) for number, verdict in enumerate(verdicts)], "none") == status


def test_machines_and_people_are_told_the_same() -> None:
    drifted = judged(HOST, [replace(FINDING, diff=("-a", "+b"))], ["a note"])
    read = json.loads(as_json(drifted))
    assert (read["host"], read["verdict"], read["notes"], read["reason"]) == (HOST, "drift", ["a note"], "")
    assert set(read["findings"][0]) == {"kind", "what", "expected", "found", "remedy", "diff"}
    said = report(drifted).splitlines()
    assert said[0] == "gpu-01: drift (1 finding)"
    assert [line.strip() for line in said[1:]] == [
        "unit  vllm.service", "expected  active", "found     failed", "-a", "+b", "-> look", "note: a note"
    ]  # fmt: skip
    assert report(Told(HOST, "none")) == "gpu-01: no drift"
    assert report(Told(HOST, "unknown", reason="not reached")) == "gpu-01: unknown: not reached"
    told = [drifted, Told("a", "none"), Told("b", "unknown")]
    assert summary("drift", told, SUMMARY) == "drift: 1 without drift, 1 drifted, 1 unknown"


# Steps


def test_an_upload_says_which_file_a_step_is_about(tmp_path: Path) -> None:
    made = StringCommand("mkdir", "-p", "/etc/llm")
    text = StringIO("a: 1\n")
    assert step_of("Write", [made, FileUploadCommand(text, "/etc/llm/a.yaml.new")]) == Step(
        "Write", "/etc/llm/a.yaml", "a: 1\n"
    )
    assert text.read() == "a: 1\n"
    assert step_of("Write", [FileUploadCommand(BytesIO(b"\xff"), "/a")]) == Step("Write", "/a", None)
    staged = FileUploadCommand(BytesIO(b"a"), "/var/lib/llm/next/root/etc/llm/a.yaml.new")
    assert step_of("Write", [made, staged]) == Step("Write", "/etc/llm/a.yaml", "a")
    manifest = FileUploadCommand(BytesIO(b"{}"), "/var/lib/llm/next/manifest.json")
    assert step_of("Place", [StringCommand("mkdir"), manifest]) == Step("Place", command="mkdir")
    assert step_of("Hold", [StringCommand("apt-mark", "hold")]) == Step("Hold", command="apt-mark hold")
    assert step_of("Switch", [FunctionCommand(print, (), {})]) == Step("Switch")


def test_a_step_has_the_name_that_deploy_shows() -> None:
    assert name_of({"deploy.py | vLLM | Install vLLM"}) == "vLLM | Install vLLM"


# The look, on this machine


def look(tmp_path: Path, **asked: Any) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.read_text(), json.dumps(asked)], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_look_sees_what_was_changed_what_runs_and_what_is_lost(tmp_path: Path) -> None:
    (tmp_path / "systemctl").write_text(
        "#!/bin/sh\nprintf 'Id=vllm.service\\nLoadState=loaded\\nActiveState=active\\nResult=success\\n"
        "DropInPaths=/run/systemd/system/service.d/x.conf /etc/systemd/system/vllm.service.d/hand.conf\\n'\n"
    )
    (tmp_path / "systemctl").chmod(0o755)
    inputs, records, hub = tmp_path / "inputs", tmp_path / "records", tmp_path / "hub"
    for folder in (inputs, records, hub):
        folder.mkdir()
    same, other, gone = tmp_path / "same", tmp_path / "other", tmp_path / "gone"
    same.write_text("as deployed")
    other.write_text("by hand")
    wrong = "0" * 64
    right = hashlib.sha256(b"as deployed").hexdigest()
    (inputs / "vllm.service.sha256").write_text(f"{right}  {same}\n{wrong}  {other}\n{wrong}  {gone}\n")
    (inputs / "vllm.service.json").write_text('{"unit": "a", "configuration": "b"}')
    (records / "vllm.service.json").write_text('{"unit": "a", "configuration": "c"}')
    (hub / "config.json").symlink_to(hub / "nowhere")
    (hub / "model").write_text("weights")
    seen = parse_look(
        look(
            tmp_path,
            units=["vllm.service"],
            inputs=str(inputs),
            records=str(records),
            models={"text": {"snapshot": str(hub), "marker": str(same)}},
        )
    )
    assert set(seen.by_hand) == {str(other), str(gone)}
    assert seen.by_hand[str(gone)] is None
    assert seen.units["vllm.service"].drop_ins == ("/etc/systemd/system/vllm.service.d/hand.conf",)
    assert seen.other_inputs == {"vllm.service": ("configuration",)}
    assert seen.models == {"text": ModelSeen(True, 2, ("config.json",))}


def test_the_text_of_a_file_comes_only_when_everybody_on_the_host_may_read_it(tmp_path: Path) -> None:
    for name, mode in (("open", 0o644), ("closed", 0o640)):
        (tmp_path / name).write_text(name)
        (tmp_path / name).chmod(mode)
    paths = [str(tmp_path / name) for name in ("open", "closed", "gone")]
    seen = look(tmp_path, paths=paths, most_bytes=10)
    assert [seen[path]["text"] for path in paths] == ["open", None, None]
    assert seen[paths[2]]["change"] is None
    assert seen[paths[1]]["change"]["mode"] == "640"
    assert look(tmp_path, paths=paths, most_bytes=3)[paths[0]]["text"] is None
