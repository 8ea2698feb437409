"""A release comes into its place on a played host: all files of one, never a mixture."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.unit.phase.played_host import VISION, VLLM, PlayedHost, PowerCut, modules, play
from tests.unit.phase.played_releases import NEW, OLD, A, B, C, deploy, host, live, llm_phase, real_run, stage

__all__ = ["host"]


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


def test_a_unit_is_pulled_in_by_no_target_that_this_release_does_not_name(host: PlayedHost) -> None:
    units = host.folder / "units"
    wants = units / "llm-phase2.target.wants"
    wants.mkdir(parents=True)
    (units / "ollama-vision.service").write_text("[Install]\nWantedBy=llm-phase1.target\n")
    (units / "vllm.service").write_text("[Install]\nWantedBy=llm-phase2.target\n")
    for name in ("vllm-vision.service", "ollama-vision.service", "vllm.service", "somebody-elses.service"):
        (wants / name).symlink_to(f"../{name}")
    files = [f"{units}/{name}" for name in ("vllm.service", "ollama-vision.service")]
    modules()["placing"].tie({"files": dict.fromkeys(files, "x")})
    assert sorted(path.name for path in wants.iterdir()) == ["somebody-elses.service", "vllm.service"]


def test_vision_restarts_only_when_its_own_files_changed(host: PlayedHost, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(host, A, OLD)
    deploy(host, B, NEW)
    monkeypatch.setattr(modules()["steps"], "has_present_inputs", lambda name, record: name != VLLM)
    before = host.active[VISION], host.active[VLLM]
    assert llm_phase("to", A) == 0
    assert host.active[VISION] == before[0]
    assert [call[1:] for call in host.calls if call[1:2] == ["restart"]] == [["restart", VLLM]]


def test_a_file_changed_by_hand_is_seen_and_put_back(host: PlayedHost, capsys: pytest.CaptureFixture[str]) -> None:
    deploy(host, A, OLD)
    (host.folder / "live/vllm.yaml").write_text("by hand")
    llm_phase("status")
    assert f"changed by hand: {host.folder}/live/vllm.yaml" in capsys.readouterr().out
    stage(host, A, OLD)
    assert llm_phase("activate") == 0
    assert live(host) == OLD
    assert modules()["releases"].verdict_of(A)["result"] == "good"


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
