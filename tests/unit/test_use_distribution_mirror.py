"""A mirror of the distribution's packages: the source that a host gets, and which of its own are set aside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from roles.distribution import sources_text
from roles.host_programs import load


@pytest.fixture(scope="module")
def program() -> ModuleType:
    return load(Path("roles/base/host/use-distribution-mirror"))


def test_debian_reads_three_suites_of_two_archives() -> None:
    text = sources_text("http://10.0.0.5/distribution/", "debian", "bookworm")
    assert "URIs: http://10.0.0.5/distribution/debian\nSuites: bookworm bookworm-updates\nComponents: main\n" in text
    assert "URIs: http://10.0.0.5/distribution/debian-security\nSuites: bookworm-security\n" in text
    assert text.count("Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg") == 2
    assert text.count("Targets: Packages Translations") == 2


def test_ubuntu_reads_three_suites_of_one_archive() -> None:
    text = sources_text("http://10.0.0.5/d", "ubuntu", "noble")
    assert (
        "URIs: http://10.0.0.5/d/ubuntu\nSuites: noble noble-updates noble-security\nComponents: main universe\n"
        in text
    )


def listed(*entries: str) -> str:
    return "".join(f"/etc/apt/{entry}\n" for entry in entries)


def test_only_files_of_the_distribution_are_set_aside(program: ModuleType) -> None:
    told = listed(
        "sources.list.d/debian.sources:1|Debian|bookworm|main|http://deb.example/debian/",
        "sources.list.d/debian.sources:2|Debian|bookworm-security|non-free-firmware|http://deb.example/debian-security/",
        "sources.list.d/docker.list:1|Docker|bookworm|stable|https://docker.example/linux/debian/",
        "sources.list.d/vendor.list:1|Vendor Inc|bookworm|main|https://apt.vendor.example/",
        "sources.list.d/ppa.sources:1|LP-PPA-someone|bookworm|main|https://ppa.example/someone/ppa/ubuntu/",
        "sources.list.d/llm-distribution.sources:1|Debian|bookworm|main|http://10.0.0.5/distribution/debian/",
    )
    assert program.to_be_moved(told, "bookworm") == ["/etc/apt/sources.list.d/debian.sources"]


def test_the_stock_file_of_ubuntu_with_a_line_for_each_component_is_the_distributions(program: ModuleType) -> None:
    lines = [
        f"sources.list:{number}|Ubuntu|{suite}|{component}|http://archive.example/ubuntu/"
        for number, (suite, component) in enumerate(
            (suite, component)
            for suite in ("jammy", "jammy-updates", "jammy-backports", "jammy-security")
            for component in ("main", "restricted", "universe", "multiverse")
        )
    ]
    assert program.to_be_moved(listed(*lines), "jammy") == ["/etc/apt/sources.list"]


def test_a_file_that_holds_both_is_refused(program: ModuleType) -> None:
    mixed = listed(
        "sources.list:1|Debian|bookworm|main|http://deb.example/debian/",
        "sources.list:2|Docker|bookworm|stable|https://docker.example/linux/debian/",
    )
    with pytest.raises(program.Refusal, match=r"/etc/apt/sources\.list holds the distribution's entries and others"):
        program.to_be_moved(mixed, "bookworm")


@pytest.mark.parametrize(
    ("release", "component", "uri", "own"),
    [
        ("bookworm", "main", "http://deb.example/debian/", True),
        ("bookworm-backports", "contrib", "http://deb.example/debian", True),
        ("bookworm-security", "main", "http://deb.example/debian-security/", True),
        ("bookworm", "main", "cdrom:[Debian GNU/Linux 12.5.0]/", True),
        ("bookworm", "main", "https://ppa.example/someone/ppa/ubuntu/", False),
        ("bookworm", "main", "https://apt.vendor.example/", False),
        ("bookworm", "stable", "https://docker.example/linux/debian/", False),
        ("cloud-sdk-bookworm", "main", "http://other.example/apt/", False),
        ("trixie", "main", "http://deb.example/debian/", False),
    ],
)
def test_whose_an_archive_is_that_apt_has_not_read_yet(
    program: ModuleType, release: str, component: str, uri: str, own: bool
) -> None:
    assert program.is_the_distributions("", release, component, uri, "bookworm") is own


@pytest.fixture
def host(program: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's files below `tmp_path`; apt lists whatever lies in sources.list.d as the distribution's, and can read it."""
    etc, backup = tmp_path / "etc/apt", tmp_path / "backup"
    (etc / "sources.list.d").mkdir(parents=True)
    names = {
        "ETC": etc,
        "BACKUP": backup / "distribution",
        "OLDER": backup / "older",
        "OURS": etc / "sources.list.d/ours.sources",
    }
    for name, path in names.items():
        monkeypatch.setattr(program, name, str(path))

    def listing() -> str:
        files = sorted(etc.rglob("*.list"))
        return "".join(f"{file}:1|Debian|bookworm|main|http://deb.example/debian\n" for file in files)

    monkeypatch.setattr(program, "listing", listing)
    monkeypatch.setattr(program, "complaints", lambda *options: None)
    return tmp_path


def test_a_mirror_and_back_again(program: ModuleType, host: Path) -> None:
    own = host / "etc/apt/sources.list"
    own.write_text("mine\n")
    assert program.due("Types: deb\n", "bookworm") != []
    assert program.use("Types: deb\n", "bookworm") == 0
    assert not own.exists()
    assert program.due("Types: deb\n", "bookworm") == []
    assert program.due("", "bookworm") != []
    program.put_back()
    assert own.read_text() == "mine\n"


def test_power_cut_before_our_source_came_leaves_work_in_both_directions(
    program: ModuleType, host: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = host / "etc/apt/sources.list"
    own.write_text("mine\n")
    with monkeypatch.context() as cut:
        cut.setattr(program.os, "fsync", lambda descriptor: None)
        cut.setattr(program.os, "rename", fails_at("ours.sources", program.os.rename))
        with pytest.raises(KeyboardInterrupt):
            program.use("Types: deb\n", "bookworm")
    assert not own.exists()
    assert program.due("Types: deb\n", "bookworm") != []
    assert program.due("", "bookworm") == [f"{own}: back again"]
    program.put_back()
    assert own.read_text() == "mine\n"


def fails_at(name: str, rename: Callable[[str, str], None]) -> Callable[[str, str], None]:
    def renamed(source: str, target: str) -> None:
        if target.endswith(name):
            raise KeyboardInterrupt
        rename(source, target)

    return renamed


def test_a_file_that_was_made_anew_is_moved_aside_and_the_first_one_is_not_lost(
    program: ModuleType, host: Path
) -> None:
    own = host / "etc/apt/sources.list"
    own.write_text("first\n")
    program.use("Types: deb\n", "bookworm")
    own.write_text("second\n")
    assert program.due("Types: deb\n", "bookworm") == [f"{own}: to be moved aside"]
    program.use("Types: deb\n", "bookworm")
    (older,) = (host / "backup/older").iterdir()
    assert older.read_text() == "first\n"
    own.write_text("third\n")
    program.put_back()
    assert own.read_text() == "third\n"
    assert sorted(file.read_text() for file in (host / "backup/older").iterdir()) == ["first\n", "second\n"]
