"""What apt says, read; and a vendor's key that is not the expected one."""

from __future__ import annotations

from pathlib import Path

import pytest

from bundle.apt import indexes, key_of, parse_targets, parse_uris, signed_files
from bundle.errors import BundleError
from bundle.fetching import Web
from bundle.needs import Key, Repository
from tests.unit.bundle.scripted_server import Say, Seen, serving

ONE, TWO = "1" * 64, "2" * 64
RELEASE = f"""-----BEGIN PGP SIGNED MESSAGE-----
Hash: SHA512

Origin: Debian
MD5Sum:
 d41d8cd98f00b204e9800998ecf8427e 0 main/binary-amd64/Packages
SHA256:
 {ONE} 45 main/binary-amd64/Packages
 {TWO} 12 main/binary-amd64/Packages.xz
 {ONE} 7 main/i18n/Translation-en.bz2
-----BEGIN PGP SIGNATURE-----
"""


def test_a_release_vouches_by_sha256_and_nothing_weaker() -> None:
    assert signed_files(RELEASE) == {
        "main/binary-amd64/Packages": (ONE, 45),
        "main/binary-amd64/Packages.xz": (TWO, 12),
        "main/i18n/Translation-en.bz2": (ONE, 7),
    }
    assert signed_files("Origin: Debian\nMD5Sum:\n d4 0 Packages\n") == {}


def test_packages_come_with_path_size_and_digest() -> None:
    said = f"""Reading package lists...
'file:/srv/b/distribution/debian/pool/main/g/g%2b%2b/g++_12_amd64.deb' g++_12_amd64.deb 356 SHA256:{ONE}
'file:///srv/b/cuda/debian12/x86_64/./nvidia-x_1%3a580_amd64.deb' nvidia-x_1%3a580_amd64.deb 12 SHA256:{TWO}
"""
    assert parse_uris(said) == [
        ("/srv/b/distribution/debian/pool/main/g/g++/g++_12_amd64.deb", 356, ONE),
        ("/srv/b/cuda/debian12/x86_64/./nvidia-x_1:580_amd64.deb", 12, TWO),
    ]


def test_of_this_machines_sources_only_the_distributions_count() -> None:
    said = """Debian|bookworm|main|http://deb.example/debian/
Debian|bookworm-security|main|http://deb.example/debian-security/
Docker|bookworm|stable|https://docker.example/
|bookworm-updates|main|http://unread.example/
Debian|bookworm-backports|contrib|http://deb.example/debian/
Debian|bookworm|main|http://second.example/debian/
"""
    assert parse_targets(said) == {
        "bookworm": "http://deb.example/debian",
        "bookworm-security": "http://deb.example/debian-security",
    }


def test_an_index_is_taken_by_its_content_where_the_archive_offers_that() -> None:
    def answer(request: Seen) -> Say:
        if request.path.endswith("InRelease"):
            return Say(body=RELEASE.encode())
        return Say(200 if "by-hash" in request.path or request.path.endswith("Translation-en.bz2") else 404)

    with serving(answer) as server, Web(print, pause_s=0) as web:
        repository = Repository("distribution/debian", "", "bookworm", ("main",))
        release, packages, translation = indexes(repository, server.url, web)
    assert release.content == RELEASE.encode()
    assert packages.path == "distribution/debian/dists/bookworm/main/binary-amd64/Packages.xz"
    assert packages.url.endswith(f"/dists/bookworm/main/binary-amd64/by-hash/SHA256/{TWO}")
    assert (packages.sha256s, packages.size) == ((TWO,), 12)
    assert translation.path.endswith("Translation-en.bz2")


def test_an_archive_without_its_lists_is_refused() -> None:
    def answer(request: Seen) -> Say:
        return Say(body=RELEASE.encode()) if request.path.endswith("InRelease") else Say(404)

    with serving(answer) as server, Web(print, pause_s=0) as web, pytest.raises(BundleError, match="has no such list"):
        list(indexes(Repository("d", "", "bookworm", ("main",)), server.url, web))


def test_a_key_that_is_not_the_expected_one_is_refused(tmp_path: Path) -> None:
    with serving(lambda request: Say(body=b"no key at all")) as server, Web(print, pause_s=0) as web:
        wrong = Key("docker/debian/gpg", f"{server.url}/gpg", "F" * 40, "")
        with pytest.raises(BundleError, match=f"has fingerprint none, not {'F' * 40}"):
            key_of(wrong, tmp_path, web)
        pinned = Key("docker/debian/gpg", f"{server.url}/gpg", "F" * 40, ONE)
        with pytest.raises(BundleError, match=f"not {ONE}"):
            key_of(pinned, tmp_path, web)
