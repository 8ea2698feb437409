"""Releases on a played host: good ones are kept, bad ones are not gone back to."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.unit.phase.played_host import ADAPTER, TARGETS, VLLM, PlayedHost, modules
from tests.unit.phase.played_releases import NEW, OLD, A, B, C, D, deploy, host, live, llm_phase, stage

__all__ = ["host"]


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
