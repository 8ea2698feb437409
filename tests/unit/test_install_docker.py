"""install-docker judges apt's transaction and what runs, before anything is changed."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from roles.host_programs import load

ENGINE = ("docker-ce", "docker-ce-cli")
MADISON = """ docker-ce | 5:28.0.1-1~debian.12~bookworm | http://mirror bookworm/stable amd64 Packages
 docker-ce | 5:26.1.5-1~debian.12~bookworm | http://mirror bookworm/stable amd64 Packages
 docker-ce-cli | 5:28.0.1-1~debian.12~bookworm | http://mirror bookworm/stable amd64 Packages
 docker-ce-cli | 5:26.1.5-1~debian.12~bookworm | http://mirror bookworm/stable amd64 Packages
containerd.io | 1.7.25-1 | http://mirror bookworm/stable amd64 Packages
"""
PACKAGES = (*ENGINE, "containerd.io")
RUNNING = {"f00": ("2026-11-23T02:57:31Z", "/web"), "ba2": ("2026-11-23T02:57:32Z", "/db")}


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load(Path("roles/docker/host/install-docker"))


def test_a_wanted_version_is_asked_for_exactly_and_what_is_there_is_left_alone(program: ModuleType) -> None:
    available = program.parse_madison(MADISON)
    assert program.choose(PACKAGES, ENGINE, "26.1.5", available, {}) == [
        "docker-ce=5:26.1.5-1~debian.12~bookworm",
        "docker-ce-cli=5:26.1.5-1~debian.12~bookworm",
        "containerd.io",
    ]
    assert program.choose(PACKAGES, ENGINE, None, available, {"docker-ce": "5:26.1.5-1~debian.12~bookworm"}) == [
        "docker-ce-cli",
        "containerd.io",
    ]


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("28.9.9", "no docker-ce 28.9.9: the repositories have 28.0.1, 26.1.5"),
        (None, "no docker-x: .* no version at all"),
    ],
)
def test_what_nobody_offers_is_refused_with_what_is_offered(
    program: ModuleType, version: str | None, expected: str
) -> None:
    packages = PACKAGES if version else ("docker-x",)
    with pytest.raises(program.Refusal, match=expected):
        program.choose(packages, ENGINE, version, program.parse_madison(MADISON), {})


def test_nothing_but_the_other_docker_may_go(program: ModuleType) -> None:
    removed, placed = program.parse_simulation(
        "Remv docker.io [20.10]\nRemv site-tool [1-1]\nInst docker-ce (5:28.0.1-1 Docker:stable [amd64])\n"
    )
    assert placed == [("docker-ce", None, "5:28.0.1-1")]
    program.judge(["docker.io"], placed, PACKAGES, ["docker.io", "runc"], ["docker-ce"])
    with pytest.raises(program.Refusal, match="apt would remove site-tool too"):
        program.judge(removed, placed, PACKAGES, ["docker.io"], [])
    with pytest.raises(program.Refusal, match=r"docker\.io is on hold; apt-mark unhold docker\.io"):
        program.judge(["docker.io"], placed, PACKAGES, ["docker.io"], ["docker.io"])
    with pytest.raises(program.Refusal, match="libc6 is on hold"):
        program.judge([], [("libc6", "2.36", "2.37")], PACKAGES, ["docker.io"], ["libc6"])


@pytest.mark.parametrize(
    ("running", "live_restore", "present", "coming", "expected"),
    [
        ({}, False, "20.10.24+dfsg1-1", "5:28.0.1-1", None),
        (RUNNING, True, "20.10.24+dfsg1-1", "5:28.0.1-1", None),
        (RUNNING, True, None, "5:28.0.1-1", None),
        (RUNNING, False, "20.10.24+dfsg1-1", "5:28.0.1-1", "these containers would end: db, web"),
        (RUNNING, True, "5:28.0.1-1", "20.10.24+dfsg1-1", "Docker 20.10.24 is older than 28.0.1"),
    ],
)
def test_running_containers_are_never_ended(
    program: ModuleType,
    running: dict[str, tuple[str, str]],
    live_restore: bool,
    present: str | None,
    coming: str,
    expected: str | None,
) -> None:
    said = program.endangered(running, live_restore, present, coming)
    assert said is None if expected is None else expected in said
