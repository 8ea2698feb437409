"""Directories of the lab's cache: made once, made anew after a failure, by one of several that want them."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab import locked_node, made_once
from lab.made_once import CannotInstall


def test_what_is_complete_is_not_made_again(tmp_path: Path) -> None:
    calls: list[Path] = []

    def make() -> None:
        calls.append(tmp_path)
        (tmp_path / "cache" / "thing").mkdir()

    for _ in range(2):
        assert made_once.ensure(tmp_path / "cache" / "thing", make) == tmp_path / "cache" / "thing"
    assert len(calls) == 1


def test_a_failure_leaves_it_to_the_next(tmp_path: Path) -> None:
    def fail() -> None:
        (tmp_path / "thing").mkdir()
        raise CannotInstall("no registry")

    with pytest.raises(CannotInstall, match="no registry"):
        made_once.ensure(tmp_path / "thing", fail)
    made: list[bool] = []
    made_once.ensure(tmp_path / "thing", lambda: made.append(True))
    assert made == [True]


def test_of_several_one_makes_it_and_the_others_wait(tmp_path: Path) -> None:
    started, may_end = threading.Event(), threading.Event()
    makers: list[str] = []

    def make(name: str) -> None:
        makers.append(name)
        (tmp_path / "thing").mkdir(exist_ok=True)
        started.set()
        assert may_end.wait(10)

    threads = [
        threading.Thread(target=made_once.ensure, args=(tmp_path / "thing", lambda name=name: make(name)))
        for name in "abc"
    ]
    for thread in threads:
        thread.start()
    assert started.wait(10)
    assert not (tmp_path / "thing" / "complete").exists()
    may_end.set()
    for thread in threads:
        thread.join(10)
    assert len(makers) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotInstall, match="LLM_LAB_CACHE"):
        made_once.ensure(tmp_path / "file" / "thing", lambda: None)


@pytest.mark.parametrize(
    ("said", "major"), [("v20.20.2", 20), ("v9.0.0", 9), ("24.1.0", 24), ("", 0), ("node: oops", 0)]
)
def test_the_first_number_of_a_version(said: str, major: int) -> None:
    assert locked_node.major_of(said) == major


def program(directory: Path, name: str, text: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_what_is_lacking_is_said_with_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert locked_node.lacking() == "node and npm not found: install Node.js 20 or newer with npm"
    program(tmp_path, "node", "echo v18.19.0")
    assert locked_node.lacking() == "npm not found: install Node.js 20 or newer with npm"
    program(tmp_path, "npm", "exit 0")
    assert locked_node.lacking() == "node is v18.19.0: install Node.js 20 or newer with npm"
    program(tmp_path, "node", "echo v22.1.0")
    assert locked_node.lacking() == ""


def test_packages_are_installed_from_the_lock_and_scripts_do_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools, project = tmp_path / "bin", tmp_path / "project"
    tools.mkdir()
    project.mkdir()
    for name in ("package.json", "package-lock.json"):
        (project / name).write_text("{}")
    program(tools, "npm", 'echo "$@" >> calls; ls >> calls; /bin/mkdir node_modules')
    monkeypatch.setenv("PATH", f"{tools}:/bin:/usr/bin")
    said: list[str] = []
    modules = locked_node.ensure(project / "package-lock.json", tmp_path / "cache", said.append)
    assert modules.is_dir()
    calls = (modules.parent / "calls").read_text()
    assert calls.startswith("ci --ignore-scripts") and {"package.json", "package-lock.json"} <= set(calls.split())
    assert locked_node.ensure(project / "package-lock.json", tmp_path / "cache", said.append) == modules
    assert len(said) == 1
    (project / "package-lock.json").write_text('{"other": 1}')
    program(tools, "npm", "echo no registry >&2; exit 1")
    with pytest.raises(CannotInstall, match="no registry"):
        locked_node.ensure(project / "package-lock.json", tmp_path / "cache", said.append)
