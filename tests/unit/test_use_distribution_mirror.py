"""A mirror of the distribution's packages: the source that a host gets, and which of its own are set aside."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from roles.distribution import sources_text
from roles.host_programs import load

DEBIAN = """Types: deb
URIs: http://deb.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://deb.example/debian-security
Suites: bookworm-security
Components: main
"""
DOCKER = "deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] https://docker.example/linux/debian bookworm stable\n"


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load(Path("roles/base/host/use-distribution-mirror"))


def test_debian_reads_three_suites_of_two_archives() -> None:
    text = sources_text("http://10.0.0.5/distribution/", "debian", "bookworm")
    assert "URIs: http://10.0.0.5/distribution/debian\nSuites: bookworm bookworm-updates\nComponents: main\n" in text
    assert "URIs: http://10.0.0.5/distribution/debian-security\nSuites: bookworm-security\n" in text
    assert text.count("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg") == 2


def test_ubuntu_reads_three_suites_of_one_archive() -> None:
    text = sources_text("http://10.0.0.5/d", "ubuntu", "noble")
    assert (
        "URIs: http://10.0.0.5/d/ubuntu\nSuites: noble noble-updates noble-security\nComponents: main universe\n"
        in text
    )


def test_only_files_of_the_distribution_are_set_aside(program: ModuleType) -> None:
    files = {
        "/etc/apt/sources.list.d/debian.sources": DEBIAN,
        "/etc/apt/sources.list.d/docker.list": DOCKER,
        "/etc/apt/sources.list": "# deb http://old.example/debian bookworm main\n\n",
        "/etc/apt/sources.list.d/off.sources": DEBIAN.replace("Types: deb\n", "Enabled: no\nTypes: deb\n"),
        "/etc/apt/sources.list.d/flat.sources": "Types: deb\nURIs: http://x\nSuites: /\n",
    }
    assert program.to_be_moved(files, "bookworm") == ["/etc/apt/sources.list.d/debian.sources"]


def test_a_file_that_holds_both_is_refused(program: ModuleType) -> None:
    mixed = {"/etc/apt/sources.list": f"deb http://deb.example/debian bookworm main\n{DOCKER}"}
    with pytest.raises(program.Refusal, match=r"/etc/apt/sources\.list holds the distribution's entries and others"):
        program.to_be_moved(mixed, "bookworm")


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ("deb http://deb.example/debian bookworm main", True),
        ("deb-src http://deb.example/debian bookworm-backports main contrib", True),
        ("deb http://security.example bookworm/updates main", True),
        ("deb [trusted=yes] http://deb.example/debian bookworm-updates main # mine", True),
        ("deb http://other.example/apt cloud-sdk-bookworm main", False),
        ("deb http://other.example/node nodistro main", False),
        ("deb http://docker.example bookworm stable", False),
        ("deb http://deb.example/debian trixie main", False),
    ],
)
def test_whose_an_entry_is(program: ModuleType, line: str, own: bool) -> None:
    ((suites, components),) = program.entries("x.list", line)
    assert program.is_the_distributions(suites, components, "bookworm") is own
