"""Releases on a played host: all files of one, never a mixture; good ones are kept, bad ones are not gone back to."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.phase.played_host import ADAPTER, TARGETS, VISION, VLLM, PlayedHost, PowerCut, modules, play

real_run = modules()["host"].run  # before any host is played
A, B, C, D = (f"r-{letter * 12}" for letter in "abcd")


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedHost:
    played = play(tmp_path, monkeypatch.setattr)
    monkeypatch.setattr(modules()["releases"], "now", lambda: "1970-01-01T00:00:00+00:00")  # a clock that is no help
    monkeypatch.setattr(modules()["steps"], "has_present_inputs", lambda name, record: True)
    return played


def llm_phase(*words: str) -> int:
    status: int = modules()["command"].main([*words])
    return status


def stage(host: PlayedHost, release: str, files: dict[str, str], phase: int = 2, keep: int = 3, **more: Any) -> None:
    """What a deploy leaves below next/: files by name, a link where the text begins with `link `."""
    for name, text in files.items():
        path = Path(f"{host.folder}/next/root{host.folder}/live/{name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(text.removeprefix("link ")) if text.startswith("link ") else path.write_text(text)
    software = host.folder / "opt" / "vllm" / release
    software.mkdir(parents=True, exist_ok=True)
    (software / ".complete").touch()
    manifest = {
        "id": release,
        "phase": phase,
        "files": {
            f"{host.folder}/live/{name}": text if text.startswith("link ") else hashlib.sha256(text.encode()).hexdigest()
            for name, text in files.items()
        },
        "needs": [str(software / ".complete")],
        "versions": {"vllm": release},
        "checks": [],
        "keep": keep,
        "by": "alice",
        **more,
    }  # fmt: skip
    (host.folder / "next").mkdir(exist_ok=True)
    (host.folder / "next/manifest.json").write_text(json.dumps(manifest))


def live(host: PlayedHost) -> dict[str, str]:
    """By name, what is in place."""
    folder = host.folder / "live"
    if not folder.exists():
        return {}
    return {
        path.name: f"link {os.readlink(path)}" if path.is_symlink() else path.read_text()
        for path in sorted(folder.iterdir())
        if not path.name.endswith(".new")
    }


def deploy(host: PlayedHost, release: str, files: dict[str, str], **more: Any) -> None:
    """A deploy that comes through."""
    stage(host, release, files, **more)
    assert llm_phase("activate") == 0
    assert llm_phase("2") == 0
    assert llm_phase("settle") == 0


OLD = {"vllm.yaml": "a", "current": "link 0.1"}
NEW = {"vllm.yaml": "b", "current": "link 0.2", "more": "b"}


def test_a_staged_release_changes_nothing_until_it_is_put_in_place(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW)
    assert live(host) == OLD
    assert host.state()["release"] == A
    assert llm_phase("activate") == 0
    assert live(host) == NEW
    assert host.state() | {"release": B, "good": A, "vllm": B} == host.state()
    assert not (host.folder / "next").exists()


def test_files_that_did_not_change_come_from_where_they_are(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    stage(host, B, {**OLD, "vllm.yaml": "b"})
    shutil.rmtree(host.folder / "next/root")
    (host.folder / "next/root" / str(host.folder)[1:] / "live").mkdir(parents=True)
    (host.folder / "next/root" / str(host.folder)[1:] / "live/vllm.yaml").write_text("b")
    assert llm_phase("activate") == 0
    assert live(host) == {**OLD, "vllm.yaml": "b"}
    shutil.rmtree(host.folder / "live")
    assert llm_phase("to", A) == 0
    assert live(host) == OLD


def test_what_was_not_rendered_by_the_deploy_is_refused(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW)
    Path(f"{host.folder}/next/root{host.folder}/live/more").write_text("somebody else's")
    assert llm_phase("activate") == 2
    assert "more is not what the deploy rendered" in capsys.readouterr().err
    assert (live(host), host.state()["release"]) == (OLD, A)


def test_a_release_that_fails_its_own_check_never_comes_into_its_place(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW, checks=[["/bin/sh", "-c", "cat {root}/nothing-there"]])
    monkeypatch.setattr(modules()["placing"], "run", real_run)
    assert llm_phase("activate") == 2
    said = capsys.readouterr().err
    assert f"release {B} fails its check" in said
    assert "nothing-there: No such file or directory" in said
    assert live(host) == OLD


def test_units_that_systemd_refuses_are_taken_back_before_anything_restarts(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW)
    monkeypatch.setattr(modules()["placing"], "unit_problems", lambda manifest: "vllm.service: Unknown key name")
    starts = host.starts
    assert llm_phase("activate") == 2
    assert (live(host)["vllm.yaml"], host.starts) == ("a", starts)
    assert modules()["releases"].verdict_of(B)["result"] == "bad"


def cut_at_each_point(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> Callable[[int], bool]:
    """Run `act` with the power gone at the n-th change on disk; False when there is no such point any more."""

    def cut(point: int) -> bool:
        count = 0

        def counted(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*words: Any, **more: Any) -> Any:
                nonlocal count
                count += 1
                if count > point:
                    raise PowerCut
                return real(*words, **more)

            return call

        with monkeypatch.context() as patch:
            for name in ("rename", "unlink", "symlink"):
                patch.setattr(os, name, counted(getattr(os, name)))
            try:
                act()
            except PowerCut:
                return True
        return False

    return cut


def test_a_power_cut_at_any_point_leaves_one_release_or_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for point in range(60):
        folder = tmp_path / str(point)
        folder.mkdir()
        with monkeypatch.context() as patch:
            host = play(folder, patch.setattr)
            deploy(host, A, OLD)
            stage(host, B, NEW)
            came_to_an_end = not cut_at_each_point(monkeypatch, lambda: llm_phase("activate"))(point)
            host.reboot()
            assert llm_phase("finish") == 0  # what llm-release.service does at boot
            expected = {A: OLD, B: NEW}[host.state()["release"]]
            assert {name: live(host).get(name) for name in expected} == expected, point
            deploy(host, B, NEW)  # and a plain run converges
            assert live(host) == NEW
            assert host.state() | {"release": B, "good": B} == host.state()
        if came_to_an_end:
            assert point > 10
            return
    raise AssertionError("no end")


def test_a_full_disk_is_found_before_the_first_file_has_changed(
    host: PlayedHost, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW)
    real, written = modules()["files"].write_beside, 0

    def full(path: str, content: bytes, mode: int = 0o644) -> None:
        nonlocal written
        written += f"{host.folder}/live" in path and "releases" not in path
        if written > 1:
            raise OSError(28, "No space left on device")
        real(path, content, mode)

    monkeypatch.setattr(modules()["files"], "write_beside", full)
    assert llm_phase("activate") == 2
    assert "No space left on device; free some space" in capsys.readouterr().err
    assert (live(host), host.state()["release"]) == (OLD, A)
    assert not [path for path in (host.folder / "live").iterdir() if path.name.endswith(".new")]
    monkeypatch.setattr(modules()["files"], "write_beside", real)
    assert llm_phase("activate") == 0
    assert live(host) == NEW


def test_a_gate_that_fails_takes_the_host_back_and_marks_the_release(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW)
    assert llm_phase("activate") == 0
    assert llm_phase("return", "--why", f"{VLLM} did not answer") == 0
    assert live(host)["vllm.yaml"] == "a"
    assert host.state() | {"release": A, "good": A, "phase": 2} == host.state()
    assert modules()["releases"].verdict_of(B) | {"result": "bad", "reason": f"{VLLM} did not answer"} == modules()[
        "releases"
    ].verdict_of(B)
    assert [entry["to"] for entry in host.audit()][-3:] == [f"release {B}", f"release {A}", f"release {A}"]


def test_without_a_good_release_the_host_goes_to_phase_1(host: PlayedHost) -> None:
    stage(host, A, OLD)
    assert llm_phase("activate") == 0
    assert llm_phase("2") == 0
    assert llm_phase("return", "--why", "no token") == 0
    assert host.serving() == "1"
    assert host.alias == TARGETS["1"]


def test_the_last_good_release_that_fails_itself_ends_in_phase_1(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    assert llm_phase("return", "--why", f"{ADAPTER} did not start") == 0
    assert host.serving() == "1"
    assert modules()["releases"].verdict_of(A)["result"] == "good"


def test_phase_2_of_a_new_release_that_does_not_come_up_ends_in_the_last_good_release(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    assert llm_phase("1") == 0
    stage(host, B, NEW)
    assert llm_phase("activate") == 0
    host.silent = {VLLM}
    assert llm_phase("2", "--return") == 1
    assert modules()["releases"].verdict_of(B)["result"] == "bad"
    assert live(host)["vllm.yaml"] == "a"
    assert host.serving() == "1"  # what served before


def test_previous_is_the_good_one_before_never_a_bad_one_and_never_a_newer_one(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(host, A, {"vllm.yaml": "a"})
    deploy(host, B, {"vllm.yaml": "b"})
    stage(host, C, {"vllm.yaml": "c"})
    assert llm_phase("activate") == 0
    assert llm_phase("return", "--why", "no token") == 0
    deploy(host, D, {"vllm.yaml": "d"})
    for expected in ("b", "a"):
        assert llm_phase("to", "previous") == 0
        assert live(host)["vllm.yaml"] == expected
    assert llm_phase("to", "previous") == 2
    assert "no good release before the one in place" in capsys.readouterr().err
    assert llm_phase("to", D) == 0
    assert host.state() | {"release": D, "good": D} == host.state()


def test_a_named_release_that_is_not_there_or_not_complete_is_refused(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(host, A, OLD)
    deploy(host, B, NEW)
    assert llm_phase("to", C) == 2
    assert f"no release {C!r} on this host; llm-phase releases lists them" in capsys.readouterr().err
    shutil.rmtree(host.folder / "opt/vllm" / A)
    assert llm_phase("to", A) == 2
    assert f"release {A} is not complete on this disk" in capsys.readouterr().err
    assert live(host) == NEW
    assert host.serving() == "2"


def test_only_so_many_good_ones_are_kept_and_never_the_software_of_one_in_use(host: PlayedHost) -> None:
    for number, release in enumerate((A, B, C, D)):
        deploy(host, release, {"vllm.yaml": str(number)}, keep=2)
    releases = modules()["releases"]
    assert releases.known() == [D, C]
    assert sorted(path.name for path in (host.folder / "opt/vllm").iterdir()) == [C, D]
    assert llm_phase("to", C) == 0
    deploy(host, A, {"vllm.yaml": "again"}, keep=1)
    assert set(releases.known()) == {A}


def test_the_release_in_place_stays_whatever_is_to_be_kept(host: PlayedHost) -> None:
    for number, release in enumerate((A, B, C)):
        deploy(host, release, {"vllm.yaml": str(number)})
    assert llm_phase("to", A) == 0
    modules()["releases"].prune(1)
    assert set(modules()["releases"].known()) == {A, C}


def test_to_and_dry_say_the_same_steps_and_dry_changes_nothing(
    host: PlayedHost, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy(host, A, OLD)
    deploy(host, B, NEW)
    capsys.readouterr()
    assert llm_phase("to", "previous", "--dry") == 0
    said = capsys.readouterr().out
    assert f"put in place: {host.folder}/live/vllm.yaml" in said
    assert f"record release {A}, Phase 2 in" in said
    assert live(host) == NEW
    assert llm_phase("to", B, "--dry") == 0
    assert f"nothing: release {B}, Phase 2, serves already" in capsys.readouterr().out


def test_vision_restarts_only_when_its_own_files_changed(host: PlayedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(host, A, OLD)
    deploy(host, B, NEW)
    monkeypatch.setattr(modules()["steps"], "has_present_inputs", lambda name, record: name != VLLM)
    before = host.active[VISION], host.active[VLLM]
    assert llm_phase("to", A) == 0
    assert host.active[VISION] == before[0]
    assert [call[1:] for call in host.calls if call[1:2] == ["restart"]] == [["restart", VLLM]]


def test_the_list_shows_what_became_of_each(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW)
    assert llm_phase("activate") == 0
    assert llm_phase("return", "--why", "no token") == 0
    capsys.readouterr()
    assert llm_phase("releases") == 0
    good, bad = capsys.readouterr().out.splitlines()
    assert good.startswith(A)
    assert "good, in place  Phase 2" in good
    assert good.endswith("by alice")
    assert bad.startswith(B)
    assert "bad: no token" in bad
    assert llm_phase("releases", "--json") == 0
    assert [one["id"] for one in json.loads(capsys.readouterr().out)["releases"]] == [A, B]


def test_a_file_changed_by_hand_is_seen_and_put_back(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    deploy(host, A, OLD)
    (host.folder / "live/vllm.yaml").write_text("by hand")
    llm_phase("status")
    assert f"changed by hand: {host.folder}/live/vllm.yaml" in capsys.readouterr().out
    stage(host, A, OLD)
    assert llm_phase("activate") == 0
    assert live(host) == OLD
    assert modules()["releases"].verdict_of(A)["result"] == "good"


def test_a_way_back_that_was_cut_off_goes_on_to_the_same_release(host: PlayedHost) -> None:
    for number, release in enumerate((A, B, C)):
        deploy(host, release, {"vllm.yaml": str(number)})
    host.silent = {VLLM}
    assert llm_phase("to", "previous") == 1  # B's vLLM does not answer
    assert host.state() | {"release": B, "good": C} == host.state()
    host.silent = set()
    assert llm_phase("to", "previous") == 0
    assert host.state() | {"release": B, "good": B} == host.state()


def test_previous_of_a_deploy_that_was_cut_off_is_what_served_until_then(host: PlayedHost) -> None:
    for number, release in enumerate((A, B, C)):
        deploy(host, release, {"vllm.yaml": str(number)})
    stage(host, B, {"vllm.yaml": "1"})  # the settings were put back
    assert llm_phase("activate") == 0
    assert llm_phase("to", "previous") == 0
    assert host.state() | {"release": C, "good": C} == host.state()


@pytest.mark.parametrize("why", ["does not come up", "is not complete"])
def test_when_the_last_good_release_does_not_serve_either_phase_1_does(host: PlayedHost, why: str) -> None:
    deploy(host, A, OLD)
    stage(host, B, NEW)
    assert llm_phase("activate") == 0
    if why == "does not come up":
        host.silent = {VLLM}
    else:
        (host.folder / "disk/software-2").unlink()
    assert llm_phase("return", "--why", "no token") == 0
    assert host.serving() == "1"
    assert host.state()["phase"] == 1


def described(host: PlayedHost, release: str, *numbers: str) -> str:
    """Give a release a description of these phases alone; the text."""
    text = json.dumps({number: host.described()[number] for number in numbers})
    file = Path(f"{host.folder}/releases/{release}/root{host.folder}/etc/phases.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return text


def test_a_release_for_both_phases_comes_back_on_a_host_that_is_for_phase_1_alone_now(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    described(host, A, "1", "2")
    deploy(host, B, NEW)
    assert llm_phase("1") == 0
    (host.folder / "etc/phases.json").write_text(json.dumps({"1": host.described()["1"]}))
    assert llm_phase("2") == 2  # not by itself
    assert llm_phase("to", A) == 0
    assert host.serving() == "2"


def test_a_host_that_becomes_one_for_phase_1_alone_stops_what_it_no_longer_knows(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    (host.folder / "etc/phases.json").write_text(json.dumps({"1": host.described()["1"]}))
    assert llm_phase("1") == 0
    assert not {VLLM, ADAPTER} & set(host.active)


def test_another_mode_is_a_change_by_hand_and_is_put_right(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    (host.folder / "live/vllm.yaml").chmod(0o600)
    assert modules()["releases"].changed_by_hand(A) == [f"{host.folder}/live/vllm.yaml"]
    stage(host, A, OLD)
    assert llm_phase("activate") == 0
    assert (host.folder / "live/vllm.yaml").stat().st_mode & 0o777 == 0o644


def test_a_change_of_places_that_cannot_be_finished_keeps_nobody_from_phase_1(host: PlayedHost) -> None:
    deploy(host, A, OLD)
    (host.folder / "placing.json").write_text(json.dumps({"release": C}))  # whose folder is gone
    assert llm_phase("1") == 0
    assert host.serving() == "1"


def test_models_below_the_softwares_folder_are_no_software(host: PlayedHost) -> None:
    deploy(host, A, OLD, keep=1)
    hub = host.folder / "opt/hub/models--one"
    hub.mkdir(parents=True)
    deploy(host, B, NEW, keep=1)
    assert hub.exists()


def test_software_that_goes_loses_its_marker_first(host: PlayedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(host, A, OLD, keep=1)
    real = shutil.rmtree
    # The power goes before the software is removed.
    monkeypatch.setattr(shutil, "rmtree", lambda path, **more: None if "/opt/" in str(path) else real(path, **more))
    deploy(host, B, NEW, keep=1)
    assert not (host.folder / "opt/vllm" / A / ".complete").exists()
