"""Docker's repository in the lab: what can be told without fetching it; tests/lab installs from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import machine
from lab.mirror import distribution_packages, docker_site
from lab.mirror.cache import CacheError
from roles.docker_packages import OWN, upstream


def test_a_mirror_without_the_suite_is_named_with_apts_own_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = f"Types: deb\nURIs: file:{tmp_path}/none\nSuites: bookworm\nComponents: main\n"
    monkeypatch.setattr(machine, "distribution", lambda: machine.Distribution("bookworm", sources, {}, ""))
    with pytest.raises(CacheError, match=r"does not give the lab trixie's packages:\nE: .*trixie"):
        distribution_packages.fetch("trixie", ["docker.io"], tmp_path / "content")


def test_the_packages_are_those_that_the_role_installs() -> None:
    made = [package.name for package in (*docker_site.ENGINE, *docker_site.OTHERS.values())]
    assert sorted(made) == sorted(OWN)


def test_a_version_is_written_as_docker_writes_it() -> None:
    version = docker_site.full_version("26.1.5", "bookworm")
    assert version == "5:26.1.5-1~debian.12~bookworm"
    assert upstream(version) == "26.1.5"
