"""Which of a machine's package sources make a host: the distribution's own, however they are written."""

from __future__ import annotations

import pytest

from lab.apt_sources import Source, codename, own_sources, parse_all, parse_deb822, parse_one_line, to_deb822

DEBIAN = """\
# See sources.list(5)
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
THIRD_PARTIES = """\
deb [arch=amd64 signed-by=/etc/apt/keyrings/docker.gpg] https://docker.example/linux bookworm stable
deb [signed-by=/usr/share/keyrings/hashicorp-archive-keyring.gpg] https://hashi.example bookworm main
deb https://cloud.example/apt cloud-sdk-bookworm main
deb https://pg.example bookworm-pgdg main
deb https://cuda.example/repos/debian12/x86_64/ /
# deb http://commented.example/debian bookworm main
deb-src http://sources.example/debian bookworm main
"""
UBUNTU = "deb http://mirror.example/ubuntu noble main universe  # the archive\n"


def uris(sources: list[Source]) -> list[str]:
    return [uri for source in sources for uri in source.uris]


def test_the_distributions_entries_are_kept_and_third_parties_are_not() -> None:
    suite, kept = own_sources(parse_all({"a.sources": DEBIAN, "b.list": THIRD_PARTIES}), "bookworm")
    assert suite == "bookworm"
    assert uris(kept) == ["http://mirror.example/debian", "http://mirror.example/debian-security"]


def test_an_ubuntu_machine_gets_its_own_suite() -> None:
    suite, kept = own_sources(parse_all({"/etc/apt/sources.list": UBUNTU}), "noble")
    assert suite == "noble"
    assert kept[0].components == ("main", "universe")


def test_a_machine_that_follows_testing_by_name_works() -> None:
    sources = list(parse_one_line("deb http://mirror.example/debian testing main\n"))
    assert own_sources(sources, "forky")[0] == "testing"


def test_an_in_house_mirror_with_a_key_of_its_own_counts_where_there_is_nothing_else() -> None:
    text = "deb [signed-by=/etc/apt/keyrings/corp.gpg] http://mirror.example/debian bookworm main\n"
    assert uris(own_sources(list(parse_one_line(text)), "bookworm")[1]) == ["http://mirror.example/debian"]


def test_a_machine_without_its_distributions_sources_is_told_so() -> None:
    with pytest.raises(ValueError, match="suite 'bookworm'"):
        own_sources(list(parse_one_line(THIRD_PARTIES.splitlines()[3])), "bookworm")


def test_a_disabled_stanza_does_not_count() -> None:
    assert list(parse_deb822(DEBIAN.replace("Types: deb\n", "Enabled: no\nTypes: deb\n")))[1:] == []


def test_files_that_apt_ignores_are_ignored() -> None:
    assert parse_all({"nodesource.sources.disabled": DEBIAN, "old.list.save": UBUNTU}) == []


def test_a_key_written_out_in_the_stanza_survives_the_round_trip() -> None:
    key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBF\n -----END PGP PUBLIC KEY BLOCK-----"
    text = f"Types: deb\nURIs: http://m.example\nSuites: bookworm\nComponents: main\nSigned-By:{key}\n"
    parsed = list(parse_deb822(text))
    assert "mQINBF" in parsed[0].signed_by
    assert list(parse_deb822(to_deb822(parsed))) == parsed


def test_both_formats_say_the_same() -> None:
    one_line = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://m.example bookworm main contrib\n"
    stanza = (
        "Types: deb\nURIs: http://m.example\nSuites: bookworm\nComponents: main contrib\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
    )
    assert list(parse_one_line(one_line)) == list(parse_deb822(stanza))


@pytest.mark.parametrize(
    ("os_release", "expected"),
    [
        ("ID=debian\nVERSION_CODENAME=bookworm\n", "bookworm"),
        ("ID=linuxmint\nVERSION_CODENAME=wilma\nUBUNTU_CODENAME=noble\n", "noble"),
        ('ID=fedora\nVERSION_CODENAME=""\n', ""),
    ],
)
def test_the_codename_is_the_one_whose_packages_the_machine_uses(os_release: str, expected: str) -> None:
    assert codename(os_release) == expected
