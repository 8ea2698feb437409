"""A directory becomes a bundle, stays one through changes, and nobody else's files are touched."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import Any

import pytest

from bundle import cli, making, manifest
from bundle.artefacts import Artefact
from bundle.cli import main, mirror_settings, mirrors_from, whole
from bundle.errors import BundleError
from bundle.needs import Needs, System, needs
from roles.mirrors import MirrorSettings
from roles.site import site_from


def wanted(version: str = "12", *hosts: str) -> Needs:
    sites = {name: site_from([{}], {}) for name in hosts or ("gpu-01",)}
    return needs(sites, System("debian", version, "bookworm"), MirrorSettings())


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Artefact]:
    """What the next run finds that a bundle must hold."""
    found: list[Artefact] = []
    monkeypatch.setattr(making, "plan", lambda *_: list(found))
    return found


def make(folder: Path, version: str = "12", prune: bool = False) -> making.Outcome:
    return making.make(wanted(version), folder, (), lambda text: None, prune=prune)


def test_a_bundle_is_whole_once_its_manifest_is_there(tmp_path: Path, planned: list[Artefact]) -> None:
    planned += [Artefact("a/one", content=b"1"), Artefact("two", content=b"22")]
    outcome = make(tmp_path / "b")
    assert outcome.fetched == 3
    made = whole(tmp_path / "b")
    assert {path: entry.size for path, entry in made.files.items()} == {"a/one": 1, "two": 2}
    assert [problem for _, problem in manifest.problems(tmp_path / "b", made)] == [None, None]
    assert make(tmp_path / "b").fetched == 0


def test_missing_cut_and_changed_files_are_told_apart(tmp_path: Path, planned: list[Artefact]) -> None:
    planned += [Artefact(name, content=b"12") for name in ("changed", "cut", "gone", "good")]
    make(tmp_path)
    (tmp_path / "gone").unlink()
    (tmp_path / "cut").write_bytes(b"1")
    (tmp_path / "changed").write_bytes(b"13")
    found = {
        path: problem.split(",")[0] if problem else None
        for path, problem in manifest.problems(tmp_path, whole(tmp_path))
    }
    assert found["gone"] == "is missing"
    assert found["cut"] == "has 1 bytes"
    assert (found["changed"] or "").startswith("has sha256")
    assert found["good"] is None
    assert make(tmp_path).fetched == 6


def test_files_of_earlier_settings_are_named_and_removed_on_request(tmp_path: Path, planned: list[Artefact]) -> None:
    planned += [Artefact("old/deep/file", content=b"1")]
    make(tmp_path)
    planned[:] = [Artefact("new", content=b"1")]
    assert make(tmp_path).others == ["old/deep/file"]
    assert (tmp_path / "old/deep/file").is_file()
    make(tmp_path, prune=True)
    assert not (tmp_path / "old").exists()
    assert (tmp_path / "new").is_file()


def test_one_directory_serves_hosts_of_several_systems(tmp_path: Path, planned: list[Artefact]) -> None:
    planned += [Artefact("shared", content=b"s"), Artefact("twelve", content=b"1")]
    make(tmp_path)
    planned[:] = [Artefact("shared", content=b"s"), Artefact("thirteen", content=b"1")]
    made = make(tmp_path, version="13", prune=True).made
    assert {path: entry.systems for path, entry in made.files.items()} == {
        "shared": ("debian-12", "debian-13"),
        "twelve": ("debian-12",),
        "thirteen": ("debian-13",),
    }
    assert set(made.hosts) == {"debian-12", "debian-13"}
    assert (tmp_path / "twelve").is_file()


def test_a_run_that_fails_leaves_no_manifest_and_forgets_no_other_system(
    tmp_path: Path, planned: list[Artefact]
) -> None:
    planned += [Artefact("twelve", content=b"1")]
    make(tmp_path)
    planned[:] = [Artefact("far", "http://127.0.0.1:1/far", size=10**18)]
    with pytest.raises(BundleError, match="GB are still to come"):
        make(tmp_path, version="13")
    assert set(whole(tmp_path).files) == {"twelve"}, "nothing was changed yet"
    planned[:] = [Artefact("far", "http://127.0.0.1:1/far", size=1)]
    with pytest.raises(BundleError, match=r"127\.0\.0\.1:1/far"):
        make(tmp_path, version="13")
    with pytest.raises(BundleError, match="is not finished"):
        whole(tmp_path)
    planned[:] = [Artefact("thirteen", content=b"1")]
    assert set(make(tmp_path, version="13").made.files) == {"twelve", "thirteen"}


def test_what_came_of_a_file_already_needs_no_room(
    tmp_path: Path, planned: list[Artefact], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=making.RESERVE_BYTES + 10))
    part = tmp_path / "b" / "big.part"
    part.parent.mkdir()
    (part.parent / manifest.MARK).touch()
    part.write_bytes(b"x" * 90)
    planned += [Artefact("big", "http://127.0.0.1:1/big", size=100)]
    with pytest.raises(BundleError, match=r"127\.0\.0\.1:1/big"):  # there was room to try
        make(part.parent)
    planned[:] = [Artefact("big", "http://127.0.0.1:1/big", size=102)]
    with pytest.raises(BundleError, match="are still to come"):
        make(part.parent)


def test_a_run_for_some_hosts_does_not_drop_what_the_others_need(tmp_path: Path, planned: list[Artefact]) -> None:
    planned += [Artefact("one", content=b"1")]

    def run(*hosts: str, forget: bool = False) -> making.Outcome:
        return making.make(wanted("12", *hosts), tmp_path, (), lambda text: None, forget=forget)

    run("gpu-01", "gpu-02")
    with pytest.raises(BundleError, match="gpu-01 of this bundle would be left out"):
        run("gpu-02")
    assert whole(tmp_path).hosts == {"debian-12": ["gpu-01", "gpu-02"]}
    assert run("gpu-02", forget=True).made.hosts == {"debian-12": ["gpu-02"]}


def test_two_runs_in_one_directory_do_not_meet(tmp_path: Path, planned: list[Artefact]) -> None:
    make(tmp_path)
    with (tmp_path / manifest.MARK).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BundleError, match="another run of make is at work there"):
            make(tmp_path)
    make(tmp_path)


def test_indexes_of_the_planning_are_moved_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = Artefact("dists/Packages.xz", "http://127.0.0.1:1/Packages.xz", size=3)

    def plan(needs: Needs, root: Path, *_: Any) -> list[Artefact]:
        (root / "dists").mkdir(parents=True)
        (root / index.path).write_bytes(b"123")
        return [index]

    monkeypatch.setattr(making, "plan", plan)
    outcome = make(tmp_path)
    assert (tmp_path / index.path).read_bytes() == b"123"
    assert outcome.others == []
    assert not (tmp_path / manifest.PLANNING).exists()


def test_a_directory_with_other_files_is_left_alone(tmp_path: Path, planned: list[Artefact]) -> None:
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(BundleError, match="holds files that are not a bundle's"):
        make(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / manifest.NAME).write_text('{"format": 99}')
    with pytest.raises(BundleError, match="another format"):
        whole(tmp_path)
    with pytest.raises(BundleError, match="is no bundle"):
        whole(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["make", "DIR", "--inventory", "one.example,two.example", "--mirror", "hubb=http://x/y"], "did you mean hub?"),
        (
            ["make", "DIR", "--inventory", "one.example,two.example", "--mirror", "hub=ftp://x"],
            "hub: string should match",
        ),
        (["make", "DIR", "--inventory", "/no/such/inventory.py"], "/no/such/inventory.py"),
        (["make", "DIR", "--inventory", "one.example,two.example", "--data", "phase=3"], "one.example: phase"),
        (["check", "DIR"], "is no bundle"),
        (["serve", "DIR"], "is no bundle"),
        (["settings", "--url", "10.0.0.5"], "such as http://10.0.0.5:8780"),
        (["settings", "--url", "http://10.0.0.5/bundle"], "has a path; Ollama's registry is at the root"),
        (["make", "/proc/nobody/b", "--inventory", "one.example,two.example"], "/proc/nobody"),
        (["make", "DIR", "--inventory", "one.example,two.example", "--installed", "/no/such/file"], "/no/such/file"),
    ],
)
def test_bad_input_is_named_before_anything_is_done(
    words: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / "b") if word == "DIR" else word for word in words]) == 1
    assert expected in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_printed_settings_are_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["settings", "--url", "http://10.0.0.5:8780/"]) == 0
    told: dict[str, Any] = {}
    exec(capsys.readouterr().out, told)
    site = site_from([{"mirrors": told["mirrors"]}], {})
    assert site.mirrors.ollama_registry == "http://10.0.0.5:8780"
    assert set(mirror_settings("http://x")) == set(MirrorSettings.model_fields)


def test_a_mirror_replaces_one_site_and_no_other() -> None:
    mirrors = mirrors_from(["hub=http://hub.example"])
    assert mirrors.hub == "http://hub.example"
    assert mirrors.docker == MirrorSettings().docker


def test_help_shows_the_four_steps(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.parser().parse_args(["--help"])
    said = capsys.readouterr().out
    assert all(f"python -m bundle {step}" in said for step in ("make", "check", "serve", "settings"))
