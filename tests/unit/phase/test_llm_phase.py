"""The switch on the host: what it refuses, what it does in which order, what it leaves when it is cut off."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roles.layout import OLLAMA_TEXT, PHASE_TARGETS, PHASE_UNITS
from roles.phase import described
from roles.phase.program import program
from roles.site import site_from
from tests.unit.phase.played_host import (
    ADAPTER,
    SOCKET,
    TARGETS,
    TEXT,
    UNITS,
    VISION,
    VLLM,
    PlayedHost,
    PowerCut,
    modules,
    play,
)

FAST = ("--patience", "0.05")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedHost:
    return play(tmp_path, monkeypatch.setattr)


def llm_phase(*words: str) -> int:
    status: int = modules()["command"].main([*words, *FAST, "--by", "alice"])
    return status


def test_forward_and_back(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    vision = host.active[VISION]
    assert llm_phase("2") == 0
    assert host.serving() == "2"
    assert host.enabled == {TARGETS["2"]}
    assert host.state() == {"phase": 2, "vllm": "kept"}
    assert llm_phase("1") == 0
    assert host.serving() == "1"
    assert host.enabled == {TARGETS["1"]}
    assert host.active[VISION] == vision, "vision was never interrupted"
    said = capsys.readouterr().out
    assert "ollama-vision.service   active       -> active, untouched" in said
    told = [(entry["to"], entry["result"], entry["by"]) for entry in host.audit()]
    assert told == [(to, result, "alice") for to in ("2", "1") for result in ("begun", "done")]


def test_in_the_wanted_phase_it_says_so_and_does_nothing(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert llm_phase("2") == 0
    before, lines = dict(host.active), len(host.audit())
    assert llm_phase("2") == 0
    assert "nothing to do" in capsys.readouterr().out
    assert host.active == before
    assert len(host.audit()) == lines


def test_servers_that_answered_after_a_boot_are_proved_for_the_next_look(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    assert llm_phase("2") == 0
    shutil.rmtree(host.folder / "proved")  # it does not outlive a boot; rollback.py would ask for the phase once more
    assert llm_phase("2") == 0
    capsys.readouterr()
    assert llm_phase("status", "--json") == 0
    proved = json.loads(capsys.readouterr().out)["proved"]
    assert proved
    assert all(proved.values())


def test_a_phase_that_is_not_complete_is_refused_before_anything_changes(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    (host.folder / "disk/software-2").unlink()
    before = (dict(host.active), set(host.enabled))
    assert llm_phase("2") == 2
    assert (
        "refused, nothing was changed: Phase 2 is not complete on this disk, 1 files are missing"
        in capsys.readouterr().err
    )
    assert (host.active, host.enabled) == before


def test_one_text_model_on_the_disk_is_enough(host: PlayedHost) -> None:
    llm_phase("2")
    (host.folder / "disk/llama3.2").unlink()
    assert llm_phase("1") == 0
    (host.folder / "disk/llama2-7b").unlink()
    llm_phase("2")
    assert llm_phase("1") == 2


def test_vllm_serves_until_the_adapter_has_finished_its_answers_and_is_killed_then(host: PlayedHost) -> None:
    llm_phase("2")
    host.deaf = {VLLM, ADAPTER}  # neither ends by itself
    host.calls.clear()
    assert llm_phase("1") == 0
    done = [words[1:] for words in host.calls if words[:2] in (["systemctl", "stop"], ["systemctl", "kill"])]
    assert done == [
        ["stop", "--no-block", SOCKET, ADAPTER],
        ["kill", "--signal=SIGKILL", ADAPTER],  # out of patience
        ["stop", "--no-block", VLLM],
        ["kill", "--signal=SIGKILL", VLLM],
    ]


def test_an_adapter_that_does_not_end_is_killed_and_what_vllm_left_on_the_cards_too(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    llm_phase("2")
    host.deaf = {VLLM, ADAPTER}
    host.orphans = {4711: "vllm", 4712: "somebody"}
    assert llm_phase("1") == 0
    said = capsys.readouterr().out
    assert "killed, as it did not end: ollama-adapter.service" in said
    assert "killed, with no answers left to make: vllm.service" in said
    assert "left behind by vLLM: pid 4711" in said
    assert host.orphans == {4712: "somebody"}
    assert host.serving() == "1"


def test_a_phase_that_does_not_come_up_is_told_with_the_way_back(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.broken = {VLLM}
    assert llm_phase("2") == 1
    said = capsys.readouterr().err
    assert "Phase 2 did not come up: vllm.service" in said
    assert "its last line" in said
    assert "to the other phase: llm-phase 1" in said
    assert host.state()["phase"] == 1
    assert host.audit()[-1]["result"] == "failed"
    assert llm_phase("1") == 0


def test_a_phase_that_does_not_come_up_gives_way_to_the_one_that_served(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    host.broken = {VLLM}
    assert llm_phase("2", "--return") == 1
    assert "going back to Phase 1, which served before" in capsys.readouterr().err
    assert host.serving() == "1"
    assert host.enabled == {TARGETS["1"]}
    assert host.state()["phase"] == 1
    assert [entry["result"] for entry in host.audit()] == ["begun", "failed", "begun", "done"]


def test_a_full_disk_does_not_keep_phase_1_from_serving(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    llm_phase("2")

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for name in ("record", "note"):
        monkeypatch.setattr(modules()["switching"], name, full)
    assert llm_phase("1") == 4
    said = capsys.readouterr().err
    assert "that this is done cannot be written down: [Errno 28] No space left on device" in said
    assert "free some space (df -h /var), then: llm-phase 1" in said
    assert host.serving() == "1"
    monkeypatch.undo()


def test_two_at_once_are_told_apart_by_name(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    with modules()["locks"].host_locked("bob@laptop", "pyinfra deploy.py"):
        assert llm_phase("2") == 5
        said = capsys.readouterr().err
        assert "locked, nothing was changed: bob@laptop (pyinfra deploy.py), since " in said
        assert "the same command with --break" in said
        llm_phase()
        assert "changing    bob@laptop" in capsys.readouterr().out
    assert llm_phase("2") == 0


def test_status_tells_when_the_truth_is_not_on_record(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    assert llm_phase() == 0
    (host.folder / "state.json").write_text('{"phase": 2')  # cut off
    assert llm_phase() == 3
    assert "is missing or broken" in capsys.readouterr().out
    assert llm_phase("--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert (told["serving"], told["recorded"], told["next_boot"], told["as_recorded"]) == (1, None, [1], False)
    assert llm_phase("1") == 0
    assert llm_phase() == 0


def test_both_phases_enabled_is_said_and_mended(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    (host.wants / TARGETS["2"]).symlink_to("../llm-phase2.target")  # of an earlier version
    assert llm_phase() == 3
    assert "next boot   Phase 1 and Phase 2" in capsys.readouterr().out
    assert llm_phase("1") == 0
    assert host.enabled == {TARGETS["1"]}


def test_a_boot_that_starts_no_phase_at_all_is_said_and_mended(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    (host.folder / "multi-user.target.wants/llm-phase.target").unlink()
    assert llm_phase() == 3
    assert "next boot   none" in capsys.readouterr().out
    assert llm_phase("1") == 0
    assert llm_phase() == 0


def test_the_log_passes_over_a_line_that_was_cut_off(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    llm_phase("2")
    with (host.folder / "audit.jsonl").open("a") as file:
        file.write('{"time": "2026-')
    assert llm_phase("1") == 0
    capsys.readouterr()
    assert llm_phase("log") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[1:3] for line in lines] == [
        ["Phase 2", "begun"], ["Phase 2", "done"], ["Phase 1", "begun"], ["Phase 1", "done"],
    ]  # fmt: skip
    assert all("by alice" in line for line in lines)


def test_dry_shows_the_steps_and_takes_none(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    before = (dict(host.active), set(host.enabled), host.state())
    assert llm_phase("2", "--dry") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("stop ollama-text.service;")
    assert said[-2] == "choose llm-phase2.target for the next boot"
    assert (host.active, host.enabled, host.state()) == before


def test_a_host_that_was_never_deployed_says_so(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    (host.folder / "etc/phases.json").unlink()
    assert llm_phase("1") == 2
    assert "this host was never deployed; pyinfra inventory deploy.py -y" in capsys.readouterr().err


@pytest.mark.parametrize("cut_at", range(1, 16))
def test_cut_off_on_the_way_to_phase_2_the_host_boots_into_the_phase_on_record(host: PlayedHost, cut_at: int) -> None:
    host.calls.clear()
    host.cut_at = cut_at
    with contextlib.suppress(PowerCut):
        llm_phase("2", "--return")
    if host.state()["phase"] == 1 and host.alias == TARGETS["1"]:
        host.reboot()
        assert host.serving() == "1"
    else:  # proved, chosen; at most the record is missing
        host.reboot()
        assert host.serving() == "2"
    assert llm_phase("2") == 0


def test_what_ended_by_itself_meanwhile_is_no_fault(host: PlayedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    llm_phase("2")
    host.orphans = {4711: "vllm"}

    def vanished(pid: int, signal: int) -> None:
        host.orphans.pop(pid)
        raise ProcessLookupError

    monkeypatch.setattr(modules()["steps"].os, "kill", vanished)
    assert llm_phase("1") == 0


def test_a_listener_that_is_gone_does_not_stop_the_switch_nor_the_return(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

        def flush(self) -> None:
            raise BrokenPipeError

        def fileno(self) -> int:
            raise OSError

    monkeypatch.setattr("sys.stdout", Closed())
    monkeypatch.setattr("sys.stderr", Closed())
    assert llm_phase("2") == 0
    assert llm_phase("1") == 0
    host.broken = {VLLM}
    assert llm_phase("2", "--return") == 1
    assert host.serving() == "1"


def test_a_server_that_runs_and_answers_nothing_is_not_done(host: PlayedHost) -> None:
    assert llm_phase("1") == 0
    host.silent = {TEXT}
    assert llm_phase("1") == 1


def test_a_vllm_that_was_started_by_hand_beside_phase_1_is_ended(host: PlayedHost) -> None:
    host.active[VLLM] = 99
    assert llm_phase("1") == 0
    assert VLLM not in host.active


def test_a_phase_that_was_not_whole_is_gone_back_to_all_the_same(host: PlayedHost) -> None:
    del host.active[VISION]
    host.broken = {VLLM}
    assert llm_phase("2", "--return") == 1
    assert host.serving() == "1"
    assert host.enabled == {TARGETS["1"]}


def test_a_failed_way_forward_leaves_the_choice_of_the_next_boot_alone(host: PlayedHost) -> None:
    host.broken = {VLLM}
    assert llm_phase("2") == 1
    assert host.enabled == {TARGETS["1"]}


def test_a_cause_that_is_far_above_the_last_words_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    said = [
        "ValueError: 900 GiB are not there",
        *(f"  frame {n}" for n in range(100)),
        "RuntimeError: see root cause above",
    ]
    done = subprocess.CompletedProcess([], 0, "\n".join(said) + "\n", "")
    monkeypatch.setattr(modules()["host"], "run", lambda *words, **options: done)
    shown = modules()["host"].journal(["vllm.service"], lines=5).splitlines()
    assert shown == [said[0], *said[-5:]]


def test_a_journal_that_is_no_text_hides_nothing() -> None:
    done = modules()["host"].run("printf", "\\xff")
    assert done.stdout == "\ufffd"


@pytest.mark.parametrize("state", ["null", "[]", "{", ""])
def test_a_record_that_is_none_is_no_phase(host: PlayedHost, state: str) -> None:
    (host.folder / "state.json").write_text(state)
    assert llm_phase() == 3
    assert llm_phase("1") == 0


def test_somebody_who_is_not_root_is_told_so(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(modules()["command"].os, "geteuid", lambda: 1000)
    assert llm_phase() == 2
    assert "root is needed: sudo llm-phase" in capsys.readouterr().err


def test_dry_refuses_what_the_switch_would_refuse(host: PlayedHost) -> None:
    (host.folder / "disk/software-2").unlink()
    assert llm_phase("2", "--dry") == 2


def test_the_program_is_one_file_that_runs_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "llm-phase"
    file.write_bytes(program())
    file.chmod(0o755)
    said = subprocess.run([file, "--help"], capture_output=True, text=True, check=True).stdout
    assert "llm-phase 1               to Phase 1" in said
    assert program() == program()


@pytest.mark.parametrize("cut_at", range(1, 14))
def test_cut_off_at_any_step_the_host_boots_into_a_startable_phase_and_the_same_command_goes_on(
    host: PlayedHost, cut_at: int
) -> None:
    llm_phase("2")
    host.calls.clear()
    host.cut_at = cut_at
    with pytest.raises(PowerCut):
        llm_phase("1")
    host.reboot()
    assert len(host.enabled) == 1
    assert host.serving() is not None
    assert host.state()["phase"] in (1, 2)
    host.calls.clear()
    assert llm_phase("1") == 0
    assert host.serving() == "1"
    assert host.enabled == {TARGETS["1"]}


EVENTS = st.one_of(
    st.sampled_from(["1", "2", "2 --return", "reboot", "break vllm", "mend vllm", "deaf vllm", "stop all"]),
    st.integers(1, 14).map(lambda step: f"cut {step}"),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(EVENTS, max_size=12))
def test_whatever_happens_one_phase_is_chosen_the_records_can_be_read_and_phase_1_is_a_command_away(
    tmp_path_factory: pytest.TempPathFactory, events: list[str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        host = play(tmp_path_factory.mktemp("host"), patch.setattr)
        for event in events:
            happen(host, event)
            assert host.state()["phase"] in (1, 2)
            assert len(host.enabled) == 1
            assert all(set(entry) >= {"time", "by", "result"} for entry in host.entries())
            assert not (VLLM in host.active and TEXT in host.active), "one server for 11434"
        host.reboot()
        assert llm_phase("1") == 0
        assert host.serving() == "1"
        assert host.enabled == {TARGETS["1"]}
        assert VISION in host.active


def happen(host: PlayedHost, event: str) -> None:
    if event == "reboot":
        host.reboot()
    elif event == "stop all":
        host.active.clear()
    elif event.endswith(" vllm"):
        kind = event.split()[0]
        host.broken = {VLLM} if kind == "break" else set()
        host.deaf = {VLLM} if kind == "deaf" else set()
    elif event.startswith("cut "):
        host.calls.clear()
        host.cut_at = int(event.split()[1])
        with contextlib.suppress(PowerCut):
            llm_phase("2" if host.serving() == "1" else "1")
        host.reboot()
    else:
        llm_phase(*event.split())


def test_the_host_is_told_of_each_phase_what_the_settings_say() -> None:
    told = described(site_from([{}], {}))
    assert set(told) == {"1", "2"}
    assert told["1"]["target"] == PHASE_TARGETS[1]
    assert told["2"]["units"] == PHASE_UNITS[2]
    assert list(told["1"]["models"]) == ["llama3.2", "llama2:7b", "nomic-embed-text"]  # type: ignore[call-overload]
    assert any("manifests/registry.ollama.ai/library/llama3.2/latest" in path for path in told["1"]["models"].values())  # type: ignore[attr-defined]
    assert set(told["2"]["gates"]) == {VISION, VLLM, ADAPTER}  # type: ignore[call-overload]
    assert OLLAMA_TEXT in told["1"]["gates"]  # type: ignore[operator]
    alone = described(site_from([{"phase": 1, "prepare": "phase1"}], {}))
    assert set(alone) == {"1"}
    assert UNITS["2"][2] == SOCKET
